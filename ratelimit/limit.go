package ratelimit

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Bounds of a Limit: on how much there is to count, and on how long somebody may have to wait.
const (
	most    = 1_000_000
	longest = 24 * time.Hour
)

// Limit says how often something may be done: Count times in each Per, evenly, and Burst times at once before that holds.
// The zero value is no limit.
type Limit struct {
	Count int
	Per   time.Duration // a second, a minute or an hour
	Burst int
}

// off is how no limit is written.
const off = "off"

// ParseLimit reads a limit such as 100/s, 600/m, or 20/s+100 with the burst after the plus. Without one it is the count.
func ParseLimit(text string) (Limit, error) {
	if text == off {
		return Limit{}, nil
	}
	wrong := fmt.Errorf("%q is not a limit such as 100/s, 600/m, 20/s+100 or off, with numbers from 1 to %d", text, most)
	rate, burst, hasBurst := strings.Cut(text, "+")
	count, per, _ := strings.Cut(rate, "/")
	n, ok := number(count)
	l := Limit{Count: n, Burst: n}
	switch per {
	case "s":
		l.Per = time.Second
	case "m":
		l.Per = time.Minute
	case "h":
		l.Per = time.Hour
	default:
		return Limit{}, wrong
	}
	if hasBurst && ok {
		l.Burst, ok = number(burst)
	}
	if !ok {
		return Limit{}, wrong
	}
	if l.Window() > longest {
		return Limit{}, fmt.Errorf("the limit %q has a burst that takes more than a day to be whole again", text)
	}
	return l, nil
}

func number(text string) (int, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return int(n), err == nil && n >= 1 && n <= most
}

func (l Limit) String() string {
	if l == (Limit{}) {
		return off
	}
	unit := map[time.Duration]string{time.Second: "s", time.Minute: "m", time.Hour: "h"}[l.Per]
	text := strconv.Itoa(l.Count) + "/" + unit
	if l.Burst != l.Count {
		text += "+" + strconv.Itoa(l.Burst)
	}
	return text
}

// MarshalText writes the limit as ParseLimit reads it.
func (l Limit) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads the limit as ParseLimit does.
func (l *Limit) UnmarshalText(text []byte) (err error) {
	*l, err = ParseLimit(string(text))
	return err
}

// interval is the time in which one more may be done.
func (l Limit) interval() time.Duration { return l.Per / time.Duration(l.Count) }

// Window is the time in which a burst that is used up is whole again.
func (l Limit) Window() time.Duration { return l.interval() * time.Duration(l.Burst) }
