package server

import "cmp"

// memberValues are those that a member of a record can have, where they are few.
func memberValues(record, name string) []any {
	switch record + "." + name {
	case "Org.status", "Member.status", "Vendor.status", "Integration.status":
		return []any{"active", "suspended"}
	case "User.status", "Client.status", "Connection.status", "Webhook.status":
		return []any{"active", "disabled"}
	case "APIKey.status":
		return []any{"active", "revoked"}
	case "Domain.status":
		return []any{"pending", "verified"}
	case "Invitation.status":
		return []any{"invited", "accepted", "revoked"}
	case "Integration.kind":
		return []any{"external", "delegated"}
	case "Integration.suspended_by":
		return []any{"org", "vendor", "tenant"}
	case "Client.kind":
		return []any{"service", "web", "native", "spa"}
	case "Client.party":
		return []any{"first", "third"}
	case "APIKey.kind":
		return []any{"bearer", "pair"}
	case "Enabling.deliver":
		return []any{"webhook", "return"}
	case "Key.status":
		return []any{"next", "signing", "verifying"}
	case "Delivery.status":
		return []any{"pending", "dead"}
	}
	return nil
}

// memberWords describe the member of that name, in whatever it is.
func memberWords(name string) string {
	switch name {
	case "id":
		return "The id."
	case "org":
		return "An organization."
	case "user":
		return "A user."
	case "vendor":
		return "A vendor."
	case "client":
		return "A client."
	case "domain":
		return "A domain, in lower-case ASCII."
	case "kid":
		return "The id of a key."
	case "token":
		return "A token."
	case "type":
		return "The type."
	case "relation":
		return "The name of the relation."
	case "subject":
		return "The subject of the relation, as type:id."
	case "path":
		return "The path of the document below `data`, with slashes."
	case "topic":
		return "A topic of this documentation."
	case "revision":
		return "The revision that set this."
	case "policies":
		return "`stale` when the source of a tenant's policies gives nothing good, so that the last good set decides; else `current`."
	case "last_used_at":
		return "When it was used last, to the minute."
	case "items":
		return "In a stable order."
	case "next_cursor":
		return "Of the next page. There is none after the last one."
	case "name":
		return "What people call it."
	case "status":
		return "The state."
	case "parent":
		return "The organization above it."
	case "metadata":
		return "Whatever the product wants to keep with it."
	case "roles":
		return "The names of roles, of the tenant or of the organization."
	case "joined_at":
		return "Since when."
	case "permissions":
		return "What the role permits; `documents:*` is every one that begins so."
	case "challenge":
		return "The DNS record that proves the domain to be the organization's."
	case "verified_at":
		return "When that was found."
	case "failing_since":
		return "Since when it was not found again."
	case "auto_join":
		return "The roles of whoever signs in with a verified address in the domain, and is no member yet."
	case "issuer":
		return "The issuer of the provider."
	case "client_id":
		return "The client."
	case "audiences":
		return "For which APIs it is."
	case "algorithm":
		return "The one algorithm of its tokens."
	case "claims":
		return "What its tokens must have."
	case "role_claim":
		return "The claim that has the groups."
	case "role_mapping":
		return "A role for each group."
	case "client_secret":
		return "A secret. It is not shown again."
	case "kind":
		return "The kind."
	case "scopes":
		return "The scopes."
	case "enabled_by":
		return "The user who let the vendor act."
	case "enabled_at":
		return "When that was."
	case "suspended_by":
		return "The side that has suspended it and can resume it."
	case "deliver":
		return "How what is made gets to whom it is for: `webhook`, `mail` or `return`."
	case "partner_token":
		return "The organization's half of the vendor's credential. It is shown this once."
	case "credential":
		return "With it the vendor acts for the user. It is shown this once."
	case "username":
		return "Unique in the tenant."
	case "email":
		return "The email address."
	case "email_verified":
		return "Whether the address was proved to be the user's."
	case "password":
		return "A password."
	case "password_hash":
		return "The hash of one: argon2id, bcrypt or PBKDF2."
	case "new_password":
		return "Another password."
	case "party":
		return "Of the tenant itself, or of others, for whom users are asked."
	case "orgs":
		return "By organization, or the organizations that it may act in."
	case "grant_types":
		return "The grants that it is registered for."
	case "token_endpoint_auth_method":
		return "How it authenticates."
	case "redirect_uris":
		return "Where codes may be sent."
	case "token_lifetime":
		return "In seconds."
	case "tls_client_auth_subject_dn":
		return "The subject of its certificate (RFC 8705)."
	case "jwks":
		return "Its public keys."
	case "id_token_signed_response_alg":
		return "RS256 when it is left out."
	case "dpop_bound_access_tokens":
		return "Whether all its tokens are bound to a key (RFC 9449 §5.2)."
	case "require_pushed_authorization_requests":
		return "Whether it has to push its requests (RFC 9126 §6)."
	case "federated_credentials":
		return "The workloads that are this client without a secret."
	case "audience":
		return "The API that a token is for."
	case "signing_alg":
		return "ES256 when it is left out."
	case "owner":
		return "The user whose key it is."
	case "expires_at":
		return "When it ends."
	case "prefix":
		return "How the key begins."
	case "key":
		return "The key. It is shown this once."
	case "secret":
		return "The secret. It is shown this once."
	case "link":
		return "The link. It is shown this once."
	case "url":
		return "Where events are sent."
	case "events":
		return "The types of the events, such as `orgs.members.*`."
	case "created_at":
		return "When it was made."
	case "invited_by":
		return "The user who invites."
	case "accepted_by":
		return "The user who has accepted."
	case "sent_at":
		return "When it was sent last."
	case "mailed":
		return "Whether nobody but the mailbox was given the link."
	case "value":
		return "Any JSON."
	case "overlap":
		return "For how long the former one stays good: `1h`, `168h` at most."
	case "former":
		return "`keep` or `end`: what becomes of the former secret."
	case "ended":
		return "How many were ended."
	case "delivery":
		return "The id of the delivery."
	case "at":
		return "When."
	case "action":
		return "What was done, as the policy was asked."
	case "resource":
		return "What it was about."
	case "by":
		return "Who did it."
	case "request_id":
		return "That of the request."
	case "reason":
		return "By which the policy has allowed it."
	case "policy_revision":
		return "The revision of the policies."
	case "before":
		return "The record before; none for a new one."
	case "after":
		return "The record after; none for one that was deleted."
	case "took_ns":
		return "From when it was asked until it was recorded, in nanoseconds."
	case "time":
		return "When it was recorded."
	case "tenant":
		return "The tenant."
	case "point":
		return "The package that decided."
	case "remembered":
		return "Whether it had been made before, and nothing that it rests on had changed."
	case "uncommitted":
		return "Whether it was made within a change of the directory that had begun to write."
	case "allow":
		return "Whether it was allowed."
	case "footprint":
		return "The facts that it rests on: those with ! were absent, those with / at the end were read with all below."
	case "answer":
		return "What was answered to a data query."
	case "erased":
		return "What a mask has removed."
	case "masked":
		return "What a mask has replaced."
	case "mask_failed":
		return "Whether a mask could not be applied, so that what it was for was removed."
	case "details":
		return "More about an authentication or a token."
	case "as_of":
		return "The instant that was asked about, where that is not the present."
	case "data_revision":
		return "The revision of the facts."
	case "decision":
		return "Whether it is allowed."
	case "decision_id":
		return "Names the decision."
	case "reasons":
		return "Why, in codes and words."
	case "obligations":
		return "What the caller has to do about it."
	case "properties":
		return "Whatever policies know about."
	case "context":
		return "Whatever else policies know about."
	case "code":
		return "A stable code."
	case "message":
		return "The same in words."
	case "input":
		return "What the policy sees as `input`."
	case "result":
		return "The document."
	case "grant_type":
		return "Which grant."
	case "client_assertion":
		return "A JWT that authenticates the client (RFC 7523)."
	case "client_assertion_type":
		return "`urn:ietf:params:oauth:client-assertion-type:jwt-bearer`."
	case "scope":
		return "Scopes, with spaces between them."
	case "organization":
		return "The same as org."
	case "redirect_uri":
		return "That of the authorization request."
	case "code_verifier":
		return "Of PKCE (RFC 7636)."
	case "code_challenge":
		return "Of PKCE (RFC 7636)."
	case "code_challenge_method":
		return "`S256`."
	case "refresh_token":
		return "A refresh token."
	case "device_code":
		return "Of a device authorization (RFC 8628)."
	case "assertion":
		return "A JWT (RFC 7523 §2.1)."
	case "subject_token":
		return "For whom the token is to be (RFC 8693)."
	case "subject_token_type":
		return "What that is."
	case "actor_token":
		return "Who is to act."
	case "actor_token_type":
		return "What that is."
	case "requested_token_type":
		return "What to get."
	case "token_type_hint":
		return "Not needed."
	case "response_type":
		return "`code`."
	case "request_uri":
		return "A request that was pushed (RFC 9126)."
	case "state":
		return "Comes back as it was sent."
	case "nonce":
		return "Comes back in the ID token."
	case "prompt":
		return "`none`, `login`, `consent` or `select_account`."
	case "login_hint":
		return "The username."
	case "max_age":
		return "How long ago the user may have signed in, in seconds."
	case "iss":
		return "The issuer."
	case "error":
		return "A code."
	case "error_description":
		return "The same in words."
	case "user_code":
		return "The code that the device shows."
	case "continue":
		return "What the page has to be sent back."
	case "alg":
		return "The algorithm."
	case "now":
		return "Whether the new key signs at once."
	case "orgid":
		return "The id of an organization."
	case "invitation_url":
		return "Where the link of the mail is to lead. It cannot be set here."
	case "default":
		return "Whether new members get it."
	case "description":
		return "What it is for."
	case "azp":
		return "Who acts, when it is not the subject."
	case "credential_id":
		return "The id of the credential."
	case "sub":
		return "The subject."
	case "sub_type":
		return "What the subject is."
	case "rules":
		return "In the order in which they were first tried."
	case "facts":
		return "In the order in which they were first read."
	case "detail":
		return "What was found."
	case "ok":
		return "Whether all is well."
	case "file":
		return "The file."
	case "line":
		return "The line in the file."
	case "col":
		return "The column in the line."
	case "text":
		return "As it is written."
	case "jkt":
		return "The thumbprint of a DPoP key (RFC 9449 §6.1)."
	case "x5t#S256":
		return "The hash of a certificate (RFC 8705 §3.1)."
	case "explanation":
		return "What the decision rests on."
	case "rule":
		return "The rule."
	case "held":
		return "Whether its conditions were met."
	case "failed":
		return "The condition that was not."
	case "found":
		return "Whether there is one."
	case "evaluations":
		return "The questions, or the answers in their order."
	case "orgId":
		return "The id of an organization on this wire."
	case "connId":
		return "The id of a connection on this wire."
	case "domainId":
		return "The id of a domain on this wire."
	case "invitationId":
		return "The id of an invitation on this wire."
	case "groupRoleId":
		return "The id of a group's role on this wire."
	case "uid":
		return "The id of a user."
	case "given_at":
		return "When it was given."
	}
	return cmp.Or(explanationWords(name), policyWords(name))
}
