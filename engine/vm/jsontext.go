package vm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Numbers are calculated with at any size, so the twelve characters 1e999999999 would fill the memory.
const (
	maxDigits   = 1024
	maxExponent = 1024
)

// maxDepth is how deeply arrays and objects may be nested before a text counts as malformed.
const maxDepth = 10_000

// skipSpace returns the position of the next character that is no white space; len(text) when there is none.
func skipSpace(text string, at int) int {
	for at < len(text) && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r') {
		at++
	}
	return at
}

// readMembers reads the direct members of the array or object that is the whole text.
func readMembers(text string) ([]member, error) {
	// Members are seldom shorter than this, and a list that is too long for a moment costs less than one that grows.
	const shortest = 12
	list := make([]member, 0, min(8, 1+len(text)/shortest))
	end, err := eachMember(text, 0, func(key string, at int) (int, error) {
		value, end, err := shallowValue(text, at)
		list = append(list, member{key, value})
		return end, err
	})
	if err != nil {
		return nil, err
	}
	if end != len(text) {
		return nil, errMalformed
	}
	if text[0] == '[' {
		return list, nil
	}
	slices.SortFunc(list, func(a, b member) int { return strings.Compare(a.key, b.key) })
	for i := 1; i < len(list); i++ {
		if list[i].key == list[i-1].key {
			return nil, fmt.Errorf("%w: name %.40q twice", errMalformed, list[i].key)
		}
	}
	return list, nil
}

// eachMember calls value with the position of every member's value, and the member's name in an object. It expects
// the end of the value from it, and returns the end of the array or object that begins at.
func eachMember(text string, at int, value func(key string, at int) (int, error)) (int, error) {
	object := text[at] == '{'
	closing := text[at] + 2 // of both kinds of brackets
	if at = skipSpace(text, at+1); at < len(text) && text[at] == closing {
		return at + 1, nil
	}
	for {
		var key string
		if object {
			if at >= len(text) || text[at] != '"' {
				return 0, errMalformed
			}
			var err error
			if key, at, err = readString(text, at); err != nil {
				return 0, err
			}
			if at = skipSpace(text, at); at >= len(text) || text[at] != ':' {
				return 0, errMalformed
			}
			at = skipSpace(text, at+1)
		}
		end, err := value(key, at)
		if err != nil {
			return 0, err
		}
		if at = skipSpace(text, end); at >= len(text) {
			return 0, errMalformed
		}
		switch text[at] {
		case closing:
			return at + 1, nil
		case ',':
			at = skipSpace(text, at+1)
		default:
			return 0, errMalformed
		}
	}
}

// shallowValue reads the value at a position and returns its end. Of arrays and objects it finds only the end.
func shallowValue(text string, at int) (ast.Value, int, error) {
	if at < len(text) && (text[at] == '{' || text[at] == '[') {
		end, err := skipNested(text, at)
		if err != nil {
			return nil, 0, err
		}
		return &document{text: text[at:end]}, end, nil
	}
	return scalar(text, at)
}

// deepValue reads the value at a position with all that is in it.
func deepValue(text string, at, depth int) (ast.Value, int, error) {
	if at >= len(text) || (text[at] != '{' && text[at] != '[') {
		return scalar(text, at)
	}
	if depth > maxDepth {
		return nil, 0, fmt.Errorf("%w: nested too deeply", errMalformed)
	}
	var elements []*ast.Term
	var pairs [][2]*ast.Term
	object := text[at] == '{'
	end, err := eachMember(text, at, func(key string, at int) (int, error) {
		value, end, err := deepValue(text, at, depth+1)
		if err != nil {
			return 0, err
		}
		if object {
			pairs = append(pairs, [2]*ast.Term{ast.InternedTerm(key), ast.NewTerm(value)})
		} else {
			elements = append(elements, ast.NewTerm(value))
		}
		return end, nil
	})
	if err != nil {
		return nil, 0, err
	}
	if !object {
		return ast.NewArray(elements...), end, nil
	}
	value := ast.NewObject(pairs...)
	// NewObject keeps both of two equal names, and its Keys are sorted.
	keys := value.Keys()
	for i := 1; i < len(keys); i++ {
		if keys[i].Equal(keys[i-1]) {
			return nil, 0, fmt.Errorf("%w: name %.40v twice", errMalformed, keys[i])
		}
	}
	return value, end, nil
}

// skipNested returns the end of the array or object at a position. Brackets are counted, not matched: what is wrong
// inside is found when it is read.
func skipNested(text string, at int) (int, error) {
	depth := 0
	for at < len(text) {
		switch text[at] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return at + 1, nil
			}
		case '"':
			end, _, err := skipString(text, at)
			if err != nil {
				return 0, err
			}
			at = end
			continue
		}
		at++
	}
	return 0, errMalformed
}

// skipString returns the position after the closing quote, and whether the string has escapes.
func skipString(text string, at int) (end int, escaped bool, err error) {
	for at++; at < len(text); at++ {
		switch c := text[at]; {
		case c == '"':
			return at + 1, escaped, nil
		case c == '\\':
			escaped = true
			at++
		case c < ' ':
			return 0, false, errMalformed
		}
	}
	return 0, false, errMalformed
}

func scalar(text string, at int) (ast.Value, int, error) {
	if at >= len(text) {
		return nil, 0, errMalformed
	}
	switch rest := text[at:]; {
	case rest[0] == '"':
		s, end, err := readString(text, at)
		if err != nil {
			return nil, 0, err
		}
		return ast.String(s), end, nil
	case strings.HasPrefix(rest, "true"):
		return ast.InternedBooleanTrueValue, at + 4, nil
	case strings.HasPrefix(rest, "false"):
		return ast.InternedBooleanFalseValue, at + 5, nil
	case strings.HasPrefix(rest, "null"):
		return ast.InternedNullValue, at + 4, nil
	}
	return readNumber(text, at)
}

func readNumber(text string, at int) (ast.Value, int, error) {
	digits := func(at int) int {
		for at < len(text) && text[at] >= '0' && text[at] <= '9' {
			at++
		}
		return at
	}
	whole := at
	if text[at] == '-' {
		whole++
	}
	end := digits(whole)
	if end == whole || (text[whole] == '0' && end > whole+1) {
		return nil, 0, errMalformed
	}
	if end < len(text) && text[end] == '.' {
		fraction := end + 1
		if end = digits(fraction); end == fraction {
			return nil, 0, errMalformed
		}
	}
	moderate := true
	if end < len(text) && (text[end] == 'e' || text[end] == 'E') {
		exponent := end + 1
		first := exponent
		if first < len(text) && (text[first] == '+' || text[first] == '-') {
			first++
		}
		if end = digits(first); end == first {
			return nil, 0, errMalformed
		}
		n, err := strconv.Atoi(text[exponent:end])
		moderate = err == nil && -maxExponent < n && n < maxExponent
	}
	number := text[at:end]
	if !moderate || len(number) > maxDigits {
		return nil, 0, fmt.Errorf("number %.20s… is beyond the range of numbers", number)
	}
	if t := ast.InternedIntNumberTermFromString(number); t != nil {
		return t.Value, end, nil
	}
	return ast.Number(json.Number(number)), end, nil
}

// readString returns the string that begins at a quote, and the position after the closing one.
func readString(text string, at int) (string, int, error) {
	end, escaped, err := skipString(text, at)
	if err != nil {
		return "", 0, err
	}
	inner := text[at+1 : end-1]
	if escaped {
		inner, err = unescape(inner)
	}
	return inner, end, err
}

func unescape(s string) (string, error) {
	b := make([]byte, 0, len(s))
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 {
			return string(append(b, s...)), nil
		}
		b = append(b, s[:i]...)
		if s = s[i+1:]; s == "" {
			return "", errMalformed
		}
		c := s[0]
		s = s[1:]
		switch c {
		case '"', '\\', '/':
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r, ok := hexadecimal(s)
			if !ok {
				return "", errMalformed
			}
			s = s[4:]
			if utf16.IsSurrogate(r) {
				low, ok := rune(0), false
				if strings.HasPrefix(s, `\u`) {
					low, ok = hexadecimal(s[2:])
				}
				if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
					return "", fmt.Errorf("%w: half a surrogate pair", errMalformed)
				}
				s = s[6:]
			}
			b = utf8.AppendRune(b, r)
			continue
		default:
			return "", errMalformed
		}
		b = append(b, c)
	}
}

// hexadecimal reads the four digits that s must begin with.
func hexadecimal(s string) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:4], 16, 16)
	return rune(n), err == nil
}
