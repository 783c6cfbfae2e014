package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	dialLimit   = 10 * time.Second
	answerLimit = 30 * time.Second // for a measurement to come to its end
	eachLimit   = 15 * time.Minute // for every request to be answered once
	maxAnswer   = 16 << 20
)

// exchange is a request as it goes over the wire, and what the body of the answer must contain, in this order.
type exchange struct {
	request []byte
	expect  [][]byte
	serial  *serial // nil for a request that is sent as it is
}

// serial is a number with a fixed count of digits in a request, another one each time that it is sent.
type serial struct {
	at   int            // place of the digits in the request
	last *atomic.Uint64 // common to all requests
}

const serialDigits = 12

func (s *serial) write(request []byte) {
	n := s.last.Add(1)
	for i := s.at + serialDigits - 1; i >= s.at; i-- {
		request[i] = byte('0' + n%10)
		n /= 10
	}
}

// post makes the request. Everything is put together beforehand: the load generator shares the machine with the server,
// so what it computes during a measurement blurs the difference between two servers.
func post(address, path, authorization string, body []byte) []byte {
	return postAs("application/json", address, path, authorization, body)
}

func postForm(address, path, authorization string, body []byte) []byte {
	return postAs("application/x-www-form-urlencoded", address, path, authorization, body)
}

func postAs(contentType, address, path, authorization string, body []byte) []byte {
	var b bytes.Buffer
	b.WriteString("POST " + path + " HTTP/1.1\r\nHost: " + address + "\r\n")
	if authorization != "" {
		b.WriteString("Authorization: " + authorization + "\r\n")
	}
	b.WriteString("Content-Type: " + contentType + "\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n")
	b.Write(body)
	return b.Bytes()
}

// connection is one keep-alive connection with one request at a time.
type connection struct {
	net.Conn
	reader   *bufio.Reader
	response fasthttp.Response
	numbered []byte // the request with its own serial: others send the same one at the same time
}

func (c *connection) do(x exchange) error {
	status, err := c.send(c.numbering(x))
	if err != nil {
		return err
	}
	if status != http.StatusOK && status != http.StatusCreated {
		return fmt.Errorf("answer %d: %.500s", status, c.response.Body())
	}
	if lacked, ok := missing(c.response.Body(), x.expect); ok {
		return fmt.Errorf("the answer lacks %s: %.500s", lacked, c.response.Body())
	}
	return nil
}

// numbering is the request of the exchange, with the next serial if it has one.
func (c *connection) numbering(x exchange) []byte {
	if x.serial == nil {
		return x.request
	}
	c.numbered = append(c.numbered[:0], x.request...)
	x.serial.write(c.numbered)
	return c.numbered
}

// send returns the status of the answer.
func (c *connection) send(request []byte) (status int, err error) {
	if _, err := c.Write(request); err != nil {
		return 0, fmt.Errorf("send a request: %w", err)
	}
	if err := c.response.ReadLimitBody(c.reader, maxAnswer); err != nil {
		return 0, fmt.Errorf("read an answer: %w", err)
	}
	return c.response.StatusCode(), nil
}

// missing is the first part that does not come after those before it.
func missing(body []byte, expect [][]byte) ([]byte, bool) {
	for _, part := range expect {
		at := bytes.Index(body, part)
		if at < 0 {
			return part, true
		}
		body = body[at+len(part):]
	}
	return nil, false
}

// connect opens connections, which close when ctx ends or by the function returned.
func connect(ctx context.Context, address string, n int, limit time.Duration) ([]*connection, func(), error) {
	var open []*connection
	closeAll := func() {
		for _, c := range open {
			_ = c.Close()
		}
	}
	dialer := net.Dialer{Timeout: dialLimit}
	for range n {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			open = append(open, &connection{Conn: conn, reader: bufio.NewReader(conn)})
			err = conn.SetDeadline(time.Now().Add(limit))
		}
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("connect to %s: %w", address, err)
		}
	}
	stop := context.AfterFunc(ctx, closeAll)
	return open, func() { stop(); closeAll() }, nil
}

// each sends every exchange once over n connections and passes on the bodies, which end with the call of
// take. take is called by several goroutines.
func each(ctx context.Context, address string, exchanges []exchange, n int, take func(i int, body []byte) error) error {
	connections, closeAll, err := connect(ctx, address, n, eachLimit)
	if err != nil {
		return err
	}
	defer closeAll()
	errs := make([]error, n)
	var done sync.WaitGroup
	for k, c := range connections {
		done.Go(func() {
			for i := k; i < len(exchanges) && errs[k] == nil; i += n {
				if errs[k] = c.do(exchanges[i]); errs[k] == nil {
					errs[k] = take(i, c.response.Body())
				}
			}
		})
	}
	done.Wait()
	return first(ctx, errs)
}

// tally is what a load came to.
type tally struct {
	perSecond float64
	p50, p99  time.Duration
	answered  int // also what was not counted
}

func (t tally) values() []float64 {
	milliseconds := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return []float64{t.perSecond, milliseconds(t.p50), milliseconds(t.p99)}
}

// drive sends the exchanges in turn for the duration, over n connections that begin at different places. Before
// that, for a tenth of it, it does the same without counting.
func drive(ctx context.Context, address string, exchanges []exchange, n int, duration time.Duration) (tally, error) {
	connections, closeAll, err := connect(ctx, address, n, duration+answerLimit)
	if err != nil {
		return tally{}, err
	}
	defer closeAll()
	begin := time.Now().Add(duration / 10)
	end := begin.Add(duration)
	latencies := make([][]time.Duration, n)
	answered := make([]int, n)
	errs := make([]error, n)
	var done sync.WaitGroup
	for k, c := range connections {
		done.Go(func() { latencies[k], answered[k], errs[k] = c.run(exchanges, k*len(exchanges)/n, begin, end) })
	}
	done.Wait()
	if err := first(ctx, errs); err != nil {
		return tally{}, err
	}
	t, err := tallied(slices.Concat(latencies...), duration)
	for _, n := range answered {
		t.answered += n
	}
	return t, err
}

func tallied(latencies []time.Duration, duration time.Duration) (tally, error) {
	if len(latencies) == 0 {
		return tally{}, fmt.Errorf("nothing was answered within %v: give a longer -duration", duration)
	}
	slices.Sort(latencies)
	return tally{perSecond: float64(len(latencies)) / duration.Seconds(), p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99)}, nil
}

// run returns the latencies of what was answered between begin and end, and how much was answered at all.
func (c *connection) run(exchanges []exchange, from int, begin, end time.Time) (latencies []time.Duration, n int, err error) {
	sent := time.Now()
	for i := from; ; i++ {
		if err := c.do(exchanges[i%len(exchanges)]); err != nil {
			return nil, n, err
		}
		n++
		answered := time.Now()
		if answered.After(end) {
			return latencies, n, nil
		}
		if answered.After(begin) {
			latencies = append(latencies, answered.Sub(sent))
		}
		sent = answered
	}
}

// first is why a load failed: because it was interrupted, else by the first error of a connection.
func first(ctx context.Context, errs []error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if i < 0 {
		return nil
	}
	return errs[i]
}
