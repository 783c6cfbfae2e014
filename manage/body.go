package manage

import (
	"context"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore/memo"
	"mandate/directory"
)

// given are the secrets that a body may bring. They are never part of a record.
type given struct {
	PasswordHash string           `json:"password_hash,omitempty"`
	ClientSecret directory.Secret `json:"client_secret,omitzero"`
	Deliver      string           `json:"deliver,omitempty"` // how what is made gets to whom it is for
}

// read is the record that the body makes of the one before.
func (k *kind[T]) read(ids []string, before *T, w Write) (*T, given, error) {
	var secrets given
	members, err := k.members(ids, before, w)
	if err != nil {
		return nil, secrets, err
	}
	if err := k.takeSecrets(members, &secrets); err != nil {
		return nil, secrets, err
	}
	text, err := json.Marshal(members, json.Deterministic(true))
	if err != nil {
		return nil, secrets, fmt.Errorf("encode a record: %w", err)
	}
	after := new(T)
	if err := json.Unmarshal(text, after, json.RejectUnknownMembers(true)); err != nil {
		if known := new(T); json.Unmarshal(text, known) == nil {
			return known, secrets, wrongMember(err) // what is understood of it says who may write it
		}
		return nil, secrets, wrongMember(err)
	}
	return after, secrets, nil
}

// members are those of the record that the body makes of the one before, without those that name it.
func (k *kind[T]) members(ids []string, before *T, w Write) (map[string]jsontext.Value, error) {
	members, former := map[string]jsontext.Value{}, map[string]jsontext.Value{}
	if before != nil {
		text, err := json.Marshal(before)
		if err != nil {
			return nil, fmt.Errorf("encode a record: %w", err)
		}
		if err := json.Unmarshal(text, &former); err != nil {
			return nil, fmt.Errorf("encode a record: %w", err)
		}
	}
	body := w.Body
	if w.Merge {
		text, err := json.Marshal(former)
		if err != nil {
			return nil, fmt.Errorf("encode a record: %w", err)
		}
		if body, err = mergePatch(text, w.Body); err != nil {
			return nil, err
		}
	}
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, invalid("", "the body must be a JSON object")
	}
	delete(members, "revision")
	if k.used != nil {
		delete(members, lastUsed)
	}
	for i, key := range k.keys {
		if sent, ok := members[key]; ok && !slices.Contains(k.fixed, key) {
			if text := (""); json.Unmarshal(sent, &text) != nil || text != ids[len(ids)-len(k.keys)+i] {
				return nil, invalid(key, "is not the one in the path")
			}
			delete(members, key)
		}
	}
	for _, name := range k.fixed {
		sent, isSent := members[name]
		was, isThere := former[name]
		switch {
		case isSent && string(sent) != "null" && !equalJSON(sent, was):
			return nil, invalid(name, "is set here only: leave it out")
		case isThere:
			members[name] = was
		default:
			delete(members, name)
		}
	}
	return members, nil
}

func (k *kind[T]) takeSecrets(members map[string]jsontext.Value, secrets *given) error {
	taken := map[string]jsontext.Value{}
	for _, name := range k.takes {
		if value, ok := members[name]; ok {
			taken[name] = value
			delete(members, name)
		}
	}
	if len(taken) == 0 {
		return nil
	}
	text, err := json.Marshal(taken)
	if err != nil {
		return fmt.Errorf("encode secrets: %w", err)
	}
	if err := json.Unmarshal(text, secrets); err != nil {
		return wrongMember(err)
	}
	return nil
}

// hashed is the body with the hash of a password in its place: hashing takes too long for a transaction, and is done only for who
// may write the rest now. The transaction asks again.
func (m *Manager) hashed(ctx context.Context, q *Request, k Kind, ids []string, w Write) (jsontext.Value, error) {
	var members map[string]jsontext.Value
	if k.Name() != "users" {
		return w.Body, nil
	}
	if err := json.Unmarshal(w.Body, &members); err != nil {
		return nil, invalid("", "the body must be a JSON object")
	}
	sent := members["password"]
	if sent == nil {
		return w.Body, nil
	}
	delete(members, "password")
	body, err := json.Marshal(members, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode a user: %w", err)
	}
	if err := m.askFirst(ctx, q, k, ids, Write{Body: body, Merge: w.Merge, id: w.id}); err != nil {
		return nil, err
	}
	var password string
	if err := json.Unmarshal(sent, &password); err != nil {
		return nil, invalid("password", "is not a string")
	}
	if err := directory.CheckPassword(directory.NewSecret(password)); err != nil {
		return nil, invalid("password", err.Error())
	}
	if members["password_hash"] != nil {
		return nil, invalid("password", "is given together with its hash: give one of them")
	}
	hash, err := m.o.Authn.HashPassword(ctx, directory.NewSecret(password))
	if err != nil {
		return nil, err
	}
	if members["password_hash"], err = json.Marshal(hash); err != nil {
		return nil, fmt.Errorf("encode a password hash: %w", err)
	}
	if body, err = json.Marshal(members, json.Deterministic(true)); err != nil {
		return nil, fmt.Errorf("encode a user: %w", err)
	}
	return body, nil
}

// askFirst asks the policy about a write outside of its transaction.
func (m *Manager) askFirst(ctx context.Context, q *Request, k Kind, ids []string, w Write) error {
	view, err := m.o.Store.View(ctx)
	if err != nil {
		return fmt.Errorf("ask about a write: %w", err)
	}
	defer view.Close()
	return k.ask(ctx, &change{m: m, q: q, reading: memo.Over(view), at: m.o.Now(), asked: &question{}}, ids, w)
}
