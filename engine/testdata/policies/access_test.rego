package mandate.access_test

import data.mandate.access

facts := {"acme": {
	"profile": {"status": "active"},
	"members": {"alice": {"status": "active", "roles": ["viewer"]}},
}}

request := {
	"action": {"name": "documents:read"},
	"resource": {"properties": {"org": "acme"}},
	"principal": {"sub": "alice"},
}

test_role_permits if {
	access.decision.allow with input as request with data.orgs as facts with data.roles as {"viewer": {"permissions": ["documents:read"]}}
}

test_no_role_denies if {
	not access.decision.allow with input as request with data.orgs as facts
}
