package directory

// AnyDepth is what DocumentDepth answers for collections whose documents may lie at any depth.
const AnyDepth = -1

// Collections are the first segments of all facts that policies can read, so no policy package may start with one.
func Collections() []string {
	return []string{"orgs", "roles", "users", "clients", "apis", "apikeys", "vendors", "consents", "relations", "custom"}
}

// PrivateRoot is the first segment of all state that policies never see.
const PrivateRoot = "private"

// DocumentDepth says at how many segments the documents lie that the given segments lead to or into, so that a reader
// finds the document of data.orgs.acme.members.alice.roles with one point read. Fewer segments than that name
// an interior node. It is AnyDepth below custom, and 0 where policies have nothing to read.
func DocumentDepth(segments []string) int {
	if len(segments) == 0 {
		return 0
	}
	switch segments[0] {
	case "orgs":
		if len(segments) >= 3 && segments[2] == "profile" {
			return 3
		}
		return 4
	case "roles", "users", "clients", "apis", "apikeys", "vendors":
		return 2
	case "consents":
		return 3
	case "relations":
		return 5
	case "custom":
		return AnyDepth
	}
	return 0
}
