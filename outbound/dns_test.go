package outbound

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// nameServer is a DNS server on this machine, over UDP and TCP, and its address.
func nameServer(t *testing.T, answer dns.HandlerFunc) string {
	t.Helper()
	var udp net.PacketConn
	var tcp net.Listener
	for tcp == nil {
		var err error
		if udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if tcp, err = net.Listen("tcp", udp.LocalAddr().String()); err != nil {
			_ = udp.Close() // the port is somebody's over TCP: try another
		}
	}
	for _, server := range []*dns.Server{{PacketConn: udp, Handler: answer}, {Listener: tcp, Handler: answer}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { _ = server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return udp.LocalAddr().String()
}

func TestTXT(t *testing.T) {
	var many []string
	for i := range 300 {
		many = append(many, "record "+strconv.Itoa(i)+" "+strings.Repeat("x", 100))
	}
	records := map[string][]string{"one.example.": {"a=b"}, "many.example.": many, "long.example.": {strings.Repeat("y", 700)}}
	hanging := make(chan struct{})
	defer close(hanging)
	resolver := NewResolver(nameServer(t, func(w dns.ResponseWriter, question *dns.Msg) {
		reply := new(dns.Msg).SetReply(question)
		reply.RecursionAvailable = true
		name := question.Question[0].Name
		switch name {
		case "servfail.example.":
			reply.Rcode = dns.RcodeServerFailure
		case "refused.example.":
			reply.Rcode = dns.RcodeRefused
		case "silent.example.":
			<-hanging
			return
		case "garbled.example.":
			_, _ = w.Write([]byte{1, 2, 3})
			return
		case "other.example.": // an answer to a question that was not asked (RFC 5452 §9.1)
			reply.Question[0].Name = "one.example."
			name = "one.example."
		case "empty.example.":
		default:
			if records[name] == nil {
				reply.Rcode = dns.RcodeNameError
			}
		}
		for _, text := range records[name] {
			header := dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}
			var parts []string
			for part := range slices.Chunk([]byte(text), 255) {
				parts = append(parts, string(part))
			}
			reply.Answer = append(reply.Answer, &dns.TXT{Hdr: header, Txt: parts})
		}
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			reply.Truncate(512)
		}
		_ = w.WriteMsg(reply)
	}))
	for _, row := range []struct {
		name, host string
		want       []string
		unknown    bool
	}{
		{"one record", "one.example", []string{"a=b"}, false},
		{"many records, truncated over UDP and whole over TCP (RFC 7766 §5)", "many.example", many, false},
		{"a text of several strings (RFC 7208 §3.3)", "long.example", records["long.example."], false},
		{"NXDOMAIN", "none.example", nil, false},
		{"NODATA (RFC 2308 §2.2)", "empty.example", nil, false},
		{"SERVFAIL", "servfail.example", nil, true},
		{"REFUSED", "refused.example", nil, true},
		{"no answer in time", "silent.example", nil, true},
		{"no DNS message", "garbled.example", nil, true},
		{"an answer to another question", "other.example", nil, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			got, err := resolver.TXT(ctx, row.host)
			if errors.Is(err, ErrNoAnswer) != row.unknown || (err != nil) != row.unknown || !slices.Equal(got, row.want) {
				t.Errorf("got %.200q, %v", got, err)
			}
		})
	}
}
