// Package decisionlog keeps what Mandate has decided: every decision, every failed authentication and every token that was
// issued or refused, each as one record in an append-only log of its tenant.
//
// The log is a folder of segments, which are read from their start (segment.go has the format). What is the same for many
// records, the question and its answer, is written once in each segment as a description; a record is a few numbers that
// refer to it. So a decision that is remembered costs the log some fifty bytes.
//
// Records are chained by hashes, and the chain's heads are signed every second, so that what was changed, dropped, inserted or
// reordered is found (Verify). That the newest records were cut off is found by a head that was kept elsewhere.
//
// A segment that has ended is sealed in the background: compressed in blocks, with an index (sealed.go has the format). Find looks at
// the segments in order of their ids, reads of each only the columns of hashes for the fields that the query asks for, and decompresses
// only blocks that use a description which is right in all of them. So a conjunction of frequent terms that never meet reads no block,
// a rare term about as many as it has records, and an id one. Ten million records are more than a hundred segments, whose columns have 40 MB for
// each field when no two decisions are alike, and next to nothing when they repeat. It holds one block, the columns of one segment
// and a bounded number of descriptions in memory. The segment that is written now has no index and is read whole.
//
// It must never lose a record that Commit has acknowledged to a process that is killed, hold a credential, show one
// tenant's records to another, or take part of a record that was torn by a crash for a whole one.
package decisionlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore"
)

// ID names a record: the instant at which it was appended, in nanoseconds since 1970, made unique within the log. So ids
// grow, and each says when it was.
type ID uint64

// idDigits are Crockford's base 32 in small letters: none that looks like another, and in the order of the numbers.
const idDigits = "0123456789abcdefghjkmnpqrstvwxyz"

// String is 13 letters and digits that sort like the ids.
func (id ID) String() string { return string(id.AppendText(nil)) }

// AppendText appends what String returns.
func (id ID) AppendText(b []byte) []byte {
	for shift := 60; shift >= 0; shift -= 5 {
		b = append(b, idDigits[id>>shift&31])
	}
	return b
}

// MarshalText is what String returns.
func (id ID) MarshalText() ([]byte, error) { return id.AppendText(nil), nil }

// UnmarshalText reads what MarshalText has written.
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseID(string(text))
	return err
}

// Time is when the record was appended.
func (id ID) Time() time.Time { return time.Unix(0, int64(id)) }

// IDAt is the smallest id of a record that was not appended before t.
func IDAt(t time.Time) ID {
	if t.UnixNano() < 0 {
		return 0
	}
	return ID(t.UnixNano())
}

// ParseID reads what String has written.
func ParseID(s string) (ID, error) {
	if len(s) != 13 || s[0] > 'f' {
		return 0, fmt.Errorf("%q is not the id of a record: it has 13 letters and digits", s)
	}
	var id ID
	for _, c := range []byte(s) {
		n := strings.IndexByte(idDigits, c)
		if n < 0 {
			return 0, fmt.Errorf("%q is not the id of a record: it has only 0 to 9 and small letters without i, l, o and u", s)
		}
		id = id<<5 | ID(n)
	}
	return id, nil
}

// Kind says what a record is about.
type Kind string

// The kinds of records.
const (
	Decision       Kind = "decision"       // a policy has decided
	Authentication Kind = "authentication" // a credential was refused
	Token          Kind = "token"          // a token was issued or refused
	AsOf           Kind = "as_of"          // a policy was asked what it would have decided at an earlier instant, the detail as_of
	DataQuery      Kind = "query"          // a document of the policies was asked for, by the data API
)

// Description is what records that came to the same have in common. It holds no credential.
type Description struct {
	Kind Kind `json:"kind"`
	// Point is the package that was asked: mandate/access, mandate/tokens, mandate/manage. Of a query it is the path.
	Point string `json:"point,omitempty"`
	// PolicyRevision is the policy set that decided.
	PolicyRevision string `json:"policy_revision,omitempty"`
	// Input is that of the policy after masking: what was asked, of whom, by whom.
	Input   jsontext.Value `json:"input,omitzero"`
	Allow   bool           `json:"allow"`
	Reasons []Reason       `json:"reasons,omitempty"`
	// Obligations is a list, absent when there are none.
	Obligations jsontext.Value `json:"obligations,omitzero"`
	// Granted has what a decision on a token carries: scopes, lifetime in seconds, claims, org.
	Granted jsontext.Value `json:"granted,omitzero"`
	// Answer is what a query was answered, absent when it is undefined or large.
	Answer jsontext.Value `json:"answer,omitzero"`
	// Refused says why the subject's credential was not good, upon which a denial stands whatever the policy said.
	Refused *Reason `json:"refused,omitempty"`
	// Footprint are the facts that the decision rests on, as data paths: those that were absent begin with "!", those that were
	// read as a whole with everything below end with "/". It ends with "…" when there were more than are kept.
	Footprint []string `json:"footprint,omitempty"`
	// Erased and Masked are the JSON pointers of what the policy mandate.log.mask has removed and replaced (as OPA names them).
	Erased []string `json:"erased,omitempty"`
	Masked []string `json:"masked,omitempty"`
	// MaskFailed says that a mask could not be applied, and that what it was for was therefore removed.
	MaskFailed bool `json:"mask_failed,omitempty"`
	// Details are those of a failed authentication or of a token: what kind of credential, from where, which grant and client.
	Details map[string]string `json:"details,omitempty"`
}

// Reason says in a stable code and in words why something is as it is.
type Reason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Entry is what a record has for itself.
type Entry struct {
	ID           ID
	DataRevision datastore.Revision
	// Took is from when the decision was asked for until it was recorded. ID.Time less Took is the instant that the policy saw.
	Took  time.Duration
	Allow bool
	// Remembered says that the decision was not made anew.
	Remembered bool
	// Uncommitted says that the decision was made within a change of the facts, after that had begun to write.
	Uncommitted bool
}

// Asked is the instant at which the decision was asked for, which is the present time to its policy.
func (e Entry) Asked() time.Time { return e.ID.Time().Add(-e.Took) }

// Record is an entry with its description.
type Record struct {
	Entry
	Description Description
}

var (
	// ErrStale is returned for a Ref to a former segment, or to one that could not be written: describe again.
	ErrStale = errors.New("the description is in a former segment of the decision log")
	// ErrNotLogged is returned by Commit when something that was appended since is not in the log.
	ErrNotLogged = errors.New("the decision log cannot be written")
	// ErrNotFound is returned for a record that is not in the log, or not any more.
	ErrNotFound = errors.New("no such record in the decision log")
)

// A flag of an entry on disk.
const (
	flagAllow = 1 << iota
	flagRemembered
	flagUncommitted
)

// entryBytes is how much an entry takes in its frame.
const entryBytes = 8 + 8 + 8 + 4 + 1

func appendEntry(b []byte, e Entry, description uint32) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(e.ID))
	b = binary.LittleEndian.AppendUint64(b, uint64(e.DataRevision))
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Took))
	b = binary.LittleEndian.AppendUint32(b, description)
	flags := byte(0)
	for _, f := range []struct {
		set bool
		bit byte
	}{{e.Allow, flagAllow}, {e.Remembered, flagRemembered}, {e.Uncommitted, flagUncommitted}} {
		if f.set {
			flags |= f.bit
		}
	}
	return append(b, flags)
}

// parseEntry reads an entry and the offset of its description in the segment.
func parseEntry(b []byte) (Entry, uint32, error) {
	if len(b) < entryBytes {
		return Entry{}, 0, errors.New("an entry is too short")
	}
	flags := b[28]
	return Entry{
		ID:           ID(binary.LittleEndian.Uint64(b)),
		DataRevision: datastore.Revision(binary.LittleEndian.Uint64(b[8:])),
		Took:         time.Duration(binary.LittleEndian.Uint64(b[16:])),
		Allow:        flags&flagAllow != 0,
		Remembered:   flags&flagRemembered != 0,
		Uncommitted:  flags&flagUncommitted != 0,
	}, binary.LittleEndian.Uint32(b[24:]), nil
}
