package mandate.manage_test

keys(action, caller) := object.union(ask(caller, {"type": "key"}), {"action": {"name": action}})

key_actions := ["keys.list", "keys.rotate", "keys.revoke"]

test_keys_are_for_managers_of_the_tenant[action] if {
	some action in key_actions
	allowed(keys(action, manager))
	refused(keys(action, gateway), "scope_missing")
	refused(keys(action, null), "scope_missing")
	refused(keys(action, acme_manager), "wrong_org")
}

test_keys_belong_to_no_organization[action] if {
	some action in key_actions
	refused(object.union(keys(action, acme_manager), {"resource": {"type": "key", "properties": {"org": "acme"}}}), "wrong_org")
	refused(object.union(keys(action, acme_manager), {"resource": organization("acme")}), "wrong_org")
	bound := keys(action, {"type": "client", "sub": "guest", "scopes": ["manage"]})
	refused(bound, "wrong_org") with data.clients as {"guest": {"orgs": ["acme"]}}
	refused(object.union(bound, {"resource": organization("acme")}), "wrong_org") with data.clients as {"guest": {"orgs": ["acme"]}}
}
