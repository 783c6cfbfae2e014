package main

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"
)

const ceilingRole = "serve-ceiling"

// ceilingAnswer has the size and shape of one of Mandate's.
const ceilingAnswer = `{"decision":true,"context":{"decision_id":"0123456789abcdef-zzzzz","reasons":[{"code":"role",` +
	`"message":"A role of the user in the organization grants the permission."}],` +
	`"policy_revision":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","data_revision":100}}`

// serveCeiling is what no server on Fiber can beat: it reads the same request with the same JSON library as Mandate and
// answers a constant.
func serveCeiling(ctx context.Context, _ []string) error {
	app := fiber.New(fiber.Config{DisableStartupMessage: true, StrictRouting: true, CaseSensitive: true})
	app.Get("/readyz", func(c *fiber.Ctx) error { return c.SendStatus(http.StatusOK) })
	app.Post("/access/v1/evaluation", func(c *fiber.Ctx) error {
		var q question
		if err := json.Unmarshal(c.Body(), &q); err != nil {
			return c.SendStatus(http.StatusBadRequest)
		}
		c.Response().Header.SetContentType(fiber.MIMEApplicationJSON)
		return c.SendString(ceilingAnswer)
	})
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	announce(listener.Addr().String())
	stop := context.AfterFunc(ctx, func() { _ = app.Shutdown() })
	defer stop()
	if err := app.Listener(listener); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
