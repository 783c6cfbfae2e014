package vm_test

import (
	"fmt"
	"strings"
)

// generator writes random policies: every choice is made by the next byte, the first alternative when none is left.
type generator struct {
	bytes []byte
	vars  []string // in scope
	made  int      // variables so far
	rules []string // that later ones may refer to
	funcs []string
	depth int
}

func (g *generator) choose(n int) int {
	if len(g.bytes) == 0 {
		return 0
	}
	b := g.bytes[0]
	g.bytes = g.bytes[1:]
	return int(b) % n
}

func (g *generator) pick(choices ...string) string { return choices[g.choose(len(choices))] }

func (g *generator) fresh() string {
	g.made++
	return fmt.Sprintf("x%d", g.made)
}

func (g *generator) scalar() string {
	return g.pick(`"a"`, "1", `"b"`, "0", "2", "1.0", "1e0", `"1"`, "true", "false", "null", `"0"`, "1e2", `""`, "-1", `"a b"`)
}

// ref is a reference that is not certain to lead to anything.
func (g *generator) ref() string {
	if len(g.rules) > 0 && g.choose(2) == 1 {
		root := g.pick(g.rules...)
		if len(g.vars) > 0 && g.choose(3) == 1 {
			root += "[" + g.pick(g.vars...) + "]"
		}
		return root
	}
	return g.document()
}

// document is a reference into input or data, of which the type checker knows nothing.
func (g *generator) document() string {
	root := g.pick("input.a", "data.base.o", "input.xs", "data.base.xs", "input.b", "data.base.a")
	for range g.choose(3) {
		root += g.segment()
	}
	return root
}

func (g *generator) segment() string {
	if len(g.vars) > 0 && g.choose(2) == 1 {
		return "[" + g.pick(g.vars...) + "]"
	}
	return g.pick(".a", ".b", "[0]", `["1"]`, "[1]", "[true]", "[[1]]", ".xs", "[1.0]", `["0"]`)
}

// of is an operand of some type, or of one that is known only when the policy runs.
func (g *generator) of(kind string) string {
	if g.depth > 4 || g.choose(2) == 0 {
		return g.document()
	}
	g.depth++
	defer func() { g.depth-- }()
	switch kind {
	case "string":
		return g.pick(`"a"`, `"b"`, `sprintf("%v", [`+g.document()+"])", "upper("+g.document()+")", `"1"`)
	case "number":
		return g.pick("1", "2.5", "1e2", "count("+g.document()+")", "("+g.document()+" + 1)")
	case "set":
		return g.pick("{1, 2}", "set()", "{x | some x in "+g.document()+"}", "{"+g.document()+"}")
	case "array":
		return g.pick("[1, 2]", "[]", "[x | some x in "+g.document()+"]", "["+g.document()+"]")
	case "object":
		return g.pick(`{"a": 1}`, "{}", "{k: v | some k, v in "+g.document()+"}", `{"b": `+g.document()+"}")
	}
	return g.term()
}

func (g *generator) term() string {
	g.depth++
	defer func() { g.depth-- }()
	if g.depth > 4 {
		return g.scalar()
	}
	switch g.choose(14) {
	case 0:
		return g.scalar()
	case 1, 2:
		if len(g.vars) > 0 {
			return g.pick(g.vars...)
		}
		return g.ref()
	case 3, 4, 5:
		return g.ref()
	case 6:
		return "[" + g.term() + ", " + g.term() + "]"
	case 7:
		return `{"a": ` + g.term() + `, "b": ` + g.term() + "}"
	case 8:
		return "{" + g.term() + ", " + g.term() + "}"
	case 9:
		return g.comprehension()
	case 10:
		return g.pick("[]", "{}", "set()", `{"a": 1}`, "[1, 2]", `{"a", 1}`, `[{"a": "b"}, 1.0]`)
	default:
		return g.call()
	}
}

func (g *generator) call() string {
	if len(g.funcs) > 0 && g.choose(3) == 1 {
		return g.pick(g.funcs...) + "(" + g.term() + ")"
	}
	switch g.choose(22) {
	case 0:
		return "count(" + g.of("array") + ")"
	case 1:
		return "(" + g.of("number") + " + " + g.of("number") + ")"
	case 2:
		return "(" + g.of("set") + " - " + g.of("set") + ")"
	case 3:
		return "(" + g.of("set") + " | " + g.of("set") + ")"
	case 4:
		return "(" + g.of("set") + " & " + g.of("set") + ")"
	case 5:
		return `concat(":", [` + g.of("string") + ", " + g.of("string") + "])"
	case 6:
		return `sprintf("%v-%v", [` + g.of("any") + ", " + g.of("any") + "])"
	case 7:
		return "object.get(" + g.of("object") + ", " + g.of("any") + `, "none")`
	case 8:
		return "startswith(" + g.of("string") + ", " + g.of("string") + ")"
	case 9:
		return "is_" + g.pick("string", "number", "array", "object", "set", "boolean", "null") + "(" + g.of("any") + ")"
	case 10:
		return "array.concat(" + g.of("array") + ", " + g.of("array") + ")"
	case 11:
		return "object.union(" + g.of("object") + ", " + g.of("object") + ")"
	case 12:
		return "split(" + g.of("string") + ", " + g.of("string") + ")"
	case 13:
		return "(" + g.of("any") + " in " + g.of("set") + ")"
	case 14:
		return "(" + g.of("any") + ", " + g.of("any") + " in " + g.of("object") + ")"
	case 15:
		return "sort(" + g.of("array") + ")"
	case 16:
		return "sum(" + g.of("array") + ")"
	case 17:
		return "json.marshal(" + g.of("any") + ")"
	case 18:
		return "max(" + g.of("set") + ")"
	case 19:
		return "upper(" + g.of("string") + ")"
	case 20:
		return "[path | walk(" + g.document() + ", [path, _])]"
	default:
		return "(" + g.of("any") + " " + g.pick("==", "!=", "<", ">=") + " " + g.document() + ")"
	}
}

// scope runs f and forgets the variables that it has introduced.
func (g *generator) scope(f func() string) string {
	n := len(g.vars)
	text := f()
	g.vars = g.vars[:n]
	return text
}

func (g *generator) comprehension() string {
	return g.scope(func() string {
		body := g.body("; ")
		switch g.choose(3) {
		case 0:
			return "[" + g.term() + " | " + body + "]"
		case 1:
			return "{" + g.term() + " | " + body + "}"
		}
		return "{" + g.term() + ": " + g.term() + " | " + body + "}"
	})
}

func (g *generator) body(separator string) string {
	n := len(g.vars)
	lines := make([]string, 1+g.choose(3))
	for i := range lines {
		lines[i] = g.expression()
	}
	for _, x := range g.vars[n:] {
		lines = append(lines, "_ = "+x) // no variable may be unused
	}
	return strings.Join(lines, separator)
}

func (g *generator) expression() string {
	g.depth++
	defer func() { g.depth-- }()
	switch g.choose(16) {
	case 0, 1:
		t := g.term()
		x := g.fresh()
		g.vars = append(g.vars, x)
		return x + " := " + t
	case 2, 3:
		t := g.pick(g.document(), g.ref(), g.of("array"), g.of("set"))
		x := g.fresh()
		g.vars = append(g.vars, x)
		return "some " + x + " in " + t
	case 4:
		t := g.pick(g.document(), g.of("array"), g.of("object"), g.of("set"))
		k, v := g.fresh(), g.fresh()
		g.vars = append(g.vars, k, v)
		return "some " + k + ", " + v + " in " + t
	case 5:
		return "not " + g.scope(g.simple)
	case 6:
		if g.depth > 3 {
			return g.simple()
		}
		t := g.pick(g.document(), g.of("array"), g.of("set"))
		return g.scope(func() string {
			x := g.fresh()
			g.vars = append(g.vars, x)
			return "every " + x + " in " + t + " { _ = " + x + "; " + g.body("; ") + " }"
		})
	case 7:
		t := g.document()
		x := g.fresh()
		g.vars = append(g.vars, x)
		return g.pick("["+x+", 1]", "["+x+", _]", `{"a": `+x+"}", `{"a": `+x+`, "b": _}`, "[[_, "+x+"], _]") + " = " + t
	case 8:
		r := g.ref()
		x := g.fresh()
		g.vars = append(g.vars, x)
		return r + "[" + x + "]"
	case 9, 10:
		return g.simple() + " with " + g.replaced() + " as " + g.term()
	case 11:
		return g.simple() + " with " + g.replaced() + " as " + g.term() + " with " + g.replaced() + " as " + g.term()
	default:
		return g.simple()
	}
}

func (g *generator) replaced() string {
	targets := []string{"input", "input.a", "data.base", "data.base.o", "input.a.b", "data.base.o.a", "data.base.xs", "data.other.x"}
	targets = append(targets, g.funcs...)
	return g.pick(append(targets, "count", "upper")...)
}

// simple is an expression that introduces no variable.
func (g *generator) simple() string {
	switch g.choose(4) {
	case 0:
		return g.term() + " == " + g.document()
	case 1:
		return g.ref()
	case 2:
		return g.document() + " " + g.pick("!=", "<", "=", ">") + " " + g.term()
	}
	return g.call()
}

func (g *generator) rule(i int) string {
	g.vars = nil
	name := fmt.Sprintf("r%d", i)
	var b strings.Builder
	kind := g.choose(8)
	for n := range 1 + g.choose(3) {
		g.vars = nil
		switch kind {
		case 0, 1:
			if n == 0 && g.choose(3) == 1 {
				fmt.Fprintf(&b, "default %s := %s\n", name, g.scalar())
			}
			fmt.Fprintf(&b, "%s := %s if {\n", name, g.head())
			fmt.Fprintf(&b, "\t%s\n}", g.body("\n\t"))
			for range g.choose(3) {
				g.vars = nil
				body := g.body("\n\t")
				fmt.Fprintf(&b, " else := %s if {\n\t%s\n}", g.head(), body)
			}
			b.WriteString("\n")
		case 2:
			body := g.body("\n\t")
			fmt.Fprintf(&b, "%s contains %s if {\n\t%s\n}\n", name, g.term(), body)
		case 3:
			body := g.body("\n\t")
			fmt.Fprintf(&b, "%s[%s] := %s if {\n\t%s\n}\n", name, g.key(), g.term(), body)
		case 4:
			x := g.fresh()
			g.vars = append(g.vars, x)
			body := g.body("\n\t")
			head := g.pick(x, x, "["+x+", 1]", "1", `"a"`)
			if head != x && !strings.Contains(head, x) {
				body = strings.ReplaceAll(body, x, "1")
			}
			fmt.Fprintf(&b, "f%d(%s) := %s if {\n\t%s\n}\n", i, head, g.pick("1", "true", `"a"`, "[1]"), body)
		case 5:
			body := g.body("\n\t")
			fmt.Fprintf(&b, "%s[%s][%s] := %s if {\n\t%s\n}\n", name, g.key(), g.key(), g.term(), body)
		case 6:
			body := g.body("\n\t")
			fmt.Fprintf(&b, "%s[%s] contains %s if {\n\t%s\n}\n", name, g.key(), g.term(), body)
		default:
			body := g.body("\n\t")
			fmt.Fprintf(&b, "%s.%s[%s] := %s if {\n\t%s\n}\n", name, g.pick("a", "b"), g.key(), g.term(), body)
		}
	}
	if kind == 4 {
		g.funcs = append(g.funcs, fmt.Sprintf("f%d", i))
	} else {
		g.rules = append(g.rules, name, "data.p."+name)
	}
	return b.String()
}

// head is the value of a rule whose body is not written yet.
func (g *generator) head() string { return g.pick("true", "1", `"a"`, "[1, 2]", `{"a": 1}`, "false") }

func (g *generator) key() string {
	if len(g.vars) > 0 && g.choose(4) != 1 {
		return g.pick(g.vars...)
	}
	return g.pick(`"a"`, `"b"`, "1", "input.a")
}

func (g *generator) json(depth int) string {
	if depth > 3 {
		return g.pick("1", `"a"`, "1.0", "true", "null", `"1"`, "1e2", `"b"`, "0")
	}
	switch g.choose(5) {
	case 0:
		return `{"a":` + g.json(depth+1) + `,"b":` + g.json(depth+1) + `}`
	case 1:
		return `[` + g.json(depth+1) + `,` + g.json(depth+1) + `]`
	case 2:
		return `{"1":` + g.json(depth+1) + `,"xs":[1,"a",1.0]}`
	}
	return g.json(4)
}

// generated is a policy with documents to evaluate it over.
type generated struct {
	module, input, data string
	queries             []string
}

func generate(bytes []byte) generated {
	g := &generator{bytes: bytes}
	var made generated
	made.input = `{"a":` + g.json(1) + `,"b":` + g.json(1) + `,"xs":` + g.json(1) + `}`
	made.data = `{"base":{"a":` + g.json(1) + `,"o":` + g.json(1) + `,"xs":` + g.json(1) + `}}`
	text := "package p\n\n"
	for i := range 2 + g.choose(4) {
		text += g.rule(i) + "\n"
	}
	made.module = text
	for i := 0; i < len(g.rules); i += 2 {
		made.queries = append(made.queries, g.rules[i])
	}
	return made
}
