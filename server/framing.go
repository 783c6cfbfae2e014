package server

import (
	"bytes"

	"github.com/gofiber/fiber/v2"
)

// plainFraming refuses requests that a proxy in front may read differently, which is how one request is smuggled in
// another (RFC 9112 §11.2): white space before a header's colon (§5.1), folded lines (§5.2), a length beside
// chunks (§6.1), and trailers, which fasthttp would take for header fields.
func plainFraming(header []byte) error {
	var length, chunks bool
	for line := range bytes.Lines(header) {
		name, _, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.ContainsAny(name, " \t"):
			return badRequest("a header line begins with white space, or has it before its colon")
		case bytes.EqualFold(name, []byte(fiber.HeaderContentLength)):
			length = true
		case bytes.EqualFold(name, []byte(fiber.HeaderTransferEncoding)):
			chunks = true
		case bytes.EqualFold(name, []byte(fiber.HeaderTrailer)):
			return badRequest("trailers are not taken")
		}
	}
	if length && chunks {
		return badRequest("the request has a Content-Length beside a Transfer-Encoding")
	}
	return nil
}
