package server

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"

	"mandate/directory"
	"mandate/manage"
)

// oemRoutes are the wire by which a vendor's application integrates with an organization: a face of the integrations in /v1.
func (h *handler) oemRoutes(base string) {
	h.server.app.Post(base+"/api/oem-api/integration", h.on(surfaceOEM, func(c *fiber.Ctx) error {
		return h.managed(c, []string{"oem:partner_token", "manage"}, (*managing).createOEMIntegration)
	}))
}

// oemIntegration is the part of an answer that names the integration.
type oemIntegration struct {
	ID       string `json:"id"`
	VendorID string `json:"vendorId"`
	Kind     string `json:"integrationKind"`
}

func (m *managing) createOEMIntegration() error {
	body, err := jsonBody(m.c)
	if err != nil {
		return err
	}
	var asked struct {
		Type   string `json:"integrationType"`
		Org    string `json:"organizationId"`
		Vendor string `json:"vendorId"`
	}
	if err := json.Unmarshal(body, &asked, json.RejectUnknownMembers(true)); err != nil {
		return badRequest("the body must have the members integrationType, organizationId and vendorId, all strings")
	}
	if asked.Type != directory.ExternalIntegration || asked.Org == "" || asked.Vendor == "" {
		return badRequest("integrationType must be external, and organizationId and vendorId ids")
	}
	record, err := json.Marshal(map[string]string{"vendor": asked.Vendor, "kind": asked.Type}, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("encode an integration: %w", err)
	}
	answer, err := m.tenant.Manage.Create(m.server.base, m.q, manage.Integrations(), []string{asked.Org}, manage.Write{Body: record})
	if err != nil {
		return err
	}
	var made struct {
		ID           string `json:"id"`
		Vendor       string `json:"vendor"`
		Kind         string `json:"kind"`
		PartnerToken string `json:"partner_token"`
	}
	if err := json.Unmarshal(answer.Body, &made); err != nil {
		return fmt.Errorf("read the integration: %w", err)
	}
	defer m.c.Status(http.StatusCreated)
	return writeJSON(m.c, struct {
		Integration oemIntegration `json:"integration"`
		Key         string         `json:"partnerApiKey"`
		Status      int            `json:"status"`
		Message     string         `json:"message"`
	}{oemIntegration{made.ID, made.Vendor, made.Kind}, made.PartnerToken, http.StatusCreated, "Successfully created an integration for an organization"})
}

// atOEM is the failure as that wire has it. A bearer token that is no access token must be a vendor's pair.
func (f failure) atOEM(authorization string) failure {
	scheme, token, _ := strings.Cut(authorization, " ")
	shape, _, _ := directory.ShapeOf(token)
	pair := strings.EqualFold(scheme, "Bearer") && shape != directory.JWTToken
	switch {
	case f.status == http.StatusUnprocessableEntity:
		f.status, f.oem = http.StatusBadRequest, "INVALID_REQUEST"
	case f.status == http.StatusUnauthorized && pair:
		f.oem, f.detail = "INVALID_MSPC_TOKEN", "the token is not a vendor token and a partner token that belong together"
	case f.status == http.StatusUnauthorized:
		f.oem = "INVALID_CLIENT"
	case f.code == "already_exists":
		f.oem = "ALREADY_EXISTS"
		f.detail = "There is a record with this id already: choose another one." // PUT replaces nothing here
	case f.code == "insufficient_scope", f.code == "scope_missing":
		f.oem = "INVALID_SCOPE"
	case f.status == http.StatusForbidden:
		f.oem = "VENDOR_NOT_AUTHORIZED"
	case f.status == http.StatusBadRequest:
		f.oem = "INVALID_REQUEST"
	default:
		f.oem = strings.ToUpper(f.code)
	}
	return f
}
