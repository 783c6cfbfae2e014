package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofiber/fiber/v2"
)

// Bounds of a JSON body: how deep objects and arrays may be nested, and how long a number may be written. A double
// needs no more, and the engine takes no more.
const (
	maxDepth          = 64
	maxNumberDigits   = 512
	maxExponentDigits = 3
)

// mediaType is the content type of the request without its parameters, empty when it is malformed.
func mediaType(c *fiber.Ctx) string {
	media, parameters, err := mime.ParseMediaType(c.Get(fiber.HeaderContentType))
	if err != nil {
		return ""
	}
	if charset, ok := parameters["charset"]; ok && !bytes.EqualFold([]byte(charset), []byte("utf-8")) {
		return ""
	}
	return media
}

// rawBody is the body as it was sent. Fiber's own accessor would decompress it: to any size, and at the token endpoint
// before anybody has authenticated.
func rawBody(c *fiber.Ctx) ([]byte, error) {
	if coding := c.Get(fiber.HeaderContentEncoding); coding != "" && !strings.EqualFold(coding, "identity") {
		return nil, &requestError{http.StatusUnsupportedMediaType, "content_encoding_unsupported", "send the body without a Content-Encoding"}
	}
	return c.Request().Body(), nil
}

// jsonBody returns the body, which is a valid I-JSON object (RFC 7493): the names of its members are unique after
// unescaping, its text is UTF-8, its numbers fit a double. The slice is the request's own and ends with the handler.
func jsonBody(c *fiber.Ctx) ([]byte, error) {
	body, err := typedBody(c)
	if err != nil {
		return nil, err
	}
	return body, checkObject(body)
}

// typedBody returns a body that calls itself JSON.
func typedBody(c *fiber.Ctx) ([]byte, error) {
	if !bytes.Equal(c.Request().Header.ContentType(), []byte(fiber.MIMEApplicationJSON)) && mediaType(c) != fiber.MIMEApplicationJSON {
		return nil, badRequest("the Content-Type must be application/json")
	}
	return rawBody(c)
}

func checkObject(body []byte) error {
	if err := checkJSON(body); err != nil {
		return err
	}
	if body[bytes.IndexFunc(body, notSpace)] != '{' {
		return badRequest("the body must be a JSON object")
	}
	return nil
}

func notSpace(c rune) bool { return c != ' ' && c != '\t' && c != '\n' && c != '\r' }

// checkJSON refuses what parsers are known to read differently.
func checkJSON(text []byte) error {
	decoder := jsontext.NewDecoder(bytes.NewReader(text))
	values := 0
	for {
		token, err := decoder.ReadToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return badRequest(jsonProblem(err))
		}
		if decoder.StackDepth() > maxDepth {
			return badRequest(fmt.Sprintf("the JSON is nested deeper than %d levels", maxDepth))
		}
		if token.Kind() == '0' && !isDouble(token.String()) {
			return badRequest("the JSON has a number beyond the range of a double")
		}
		if decoder.StackDepth() == 0 {
			values++
		}
	}
	switch values {
	case 0:
		return badRequest("the body is empty: send a JSON object")
	case 1:
		return nil
	}
	return badRequest("the body has more than one JSON value")
}

// isDouble says whether a number is in the range of a double (RFC 7493 §2.2): neither too large nor taken for zero.
func isDouble(number string) bool {
	value, err := strconv.ParseFloat(number, 64)
	mantissa, exponent, _ := strings.Cut(strings.ToLower(number), "e")
	vanishes := value == 0 && strings.ContainsAny(mantissa, "123456789")
	return err == nil && !vanishes && len(mantissa) <= maxNumberDigits && len(strings.TrimLeft(exponent, "+-")) <= maxExponentDigits
}

// jsonProblem describes a syntax error by its place; the text itself may be a secret.
func jsonProblem(err error) string {
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return fmt.Sprintf("the JSON has a member name twice, before byte %d", syntactic.ByteOffset)
		}
		return fmt.Sprintf("the body is not valid JSON, near byte %d", syntactic.ByteOffset)
	}
	return "the body is not valid JSON"
}

// writeJSON answers with a document that must not be stored by others.
func writeJSON(c *fiber.Ctx, document any) error {
	text, err := json.Marshal(document, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("encode the response: %w", err)
	}
	return writeText(c, text)
}

// writeText answers with the JSON text, of which it makes a copy.
func writeText(c *fiber.Ctx, text []byte) error {
	c.Status(http.StatusOK)
	c.Response().Header.Set(fiber.HeaderCacheControl, "no-store")
	c.Response().Header.SetContentType(fiber.MIMEApplicationJSON)
	c.Response().SetBody(text)
	return nil
}
