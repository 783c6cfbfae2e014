package authn

import "errors"

// TryUserCode lets a signed-in user try a user code, unless too many of the ones before were wrong (RFC 8628 §5.1). find says
// whether somebody has been given the code; a right one costs nothing.
func (a *Authenticator) TryUserCode(user string, find func() (bool, error)) error {
	var failed error
	err := a.throttle.user("user code of\x00"+user, func() error {
		var found bool
		if found, failed = find(); failed == nil && !found {
			return invalid()
		}
		return nil
	})
	if busy := (*Error)(nil); errors.As(err, &busy) && busy.Kind == Busy {
		return &Error{Kind: Busy, Code: "too_many_user_codes", RetryAfter: busy.RetryAfter, Detail: "too many codes were wrong: wait before you try again"}
	}
	return failed
}
