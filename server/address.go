package server

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// maxForwarded bounds how many addresses of X-Forwarded-For are read.
const maxForwarded = 32

// address is that of the caller, empty when it is not known.
func (s *Server) address(c *fiber.Ctx) string {
	if from := s.caller(c); from.IsValid() {
		return from.String()
	}
	return ""
}

// caller is the address of the caller, not valid when it is not known: of the connection, or, when that comes from a trusted
// proxy, the last one in X-Forwarded-For that is not a trusted proxy's own. Nothing else follows what a proxy says of a
// request.
func (s *Server) caller(c *fiber.Ctx) netip.Addr {
	if s.proxied && len(s.trusted) == 0 {
		return netip.Addr{}
	}
	from, ok := netip.AddrFromSlice(c.Context().RemoteIP())
	if !ok {
		return netip.Addr{}
	}
	from = from.Unmap()
	list := string(bytes.Join(c.Request().Header.PeekAll(fiber.HeaderXForwardedFor), []byte(",")))
	for range maxForwarded {
		if !s.trusts(from) {
			break
		}
		cut := strings.LastIndexByte(list, ',')
		next, ok := parseAddress(strings.TrimSpace(list[cut+1:]))
		if !ok {
			break
		}
		from, list = next, list[:max(0, cut)]
	}
	return from
}

func (s *Server) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(s.trusted, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// parseAddress reads an address with or without a port.
func parseAddress(text string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		withPort, err := netip.ParseAddrPort(text)
		if err != nil {
			return addr, false
		}
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone(""), true
}

// Loopback says whether the host, without a port, is this machine (RFC 8252 §7.3).
func Loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && addr.Unmap().IsLoopback())
}
