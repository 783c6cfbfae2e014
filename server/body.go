package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofiber/fiber/v2"
)

// maxDepth bounds how deep objects and arrays may be nested in a body.
const maxDepth = 64

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

// jsonBody returns the body, which is a valid I-JSON object (RFC 7493): the names of its members are unique after
// unescaping, its text is UTF-8, its numbers fit a double. The slice is the request's own and ends with the handler.
func jsonBody(c *fiber.Ctx) ([]byte, error) {
	if mediaType(c) != fiber.MIMEApplicationJSON {
		return nil, badRequest("the Content-Type must be application/json")
	}
	body := c.Body()
	if err := checkJSON(body); err != nil {
		return nil, err
	}
	if body[bytes.IndexFunc(body, notSpace)] != '{' {
		return nil, badRequest("the body must be a JSON object")
	}
	return body, nil
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
		if token.Kind() == '0' {
			if _, err := strconv.ParseFloat(token.String(), 64); err != nil {
				return badRequest("the JSON has a number beyond the range of a double")
			}
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
	c.Status(http.StatusOK)
	c.Set(fiber.HeaderCacheControl, "no-store")
	c.Response().Header.SetContentType(fiber.MIMEApplicationJSON)
	c.Response().SetBodyRaw(text)
	return nil
}
