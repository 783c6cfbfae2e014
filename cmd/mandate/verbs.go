package main

import "net/http"

// The verbs that most collections have. A path is that of the records.

func listVerb(path, short, shown, by string) verb {
	return verb{name: "list", path: path, short: short, columns: columns(shown), filters: filters(by)}
}

func showVerb(path, what string) verb {
	return verb{name: "show", path: path, short: "Show " + what}
}

// statusVerb sets the status of a record.
func statusVerb(name, path, status, short string) verb {
	return verb{name: name, method: http.MethodPatch, path: path, short: short, always: map[string]any{"status": status}}
}

func createVerb(path string, id argument, short string, fields []field) verb {
	return verb{name: "create", method: http.MethodPost, path: path, id: id, short: short, fields: fields}
}

// updateVerb takes the fields of create. None is required: what is left out stays.
func updateVerb(path, short string, fields []field) verb {
	changed := make([]field, len(fields))
	for i, f := range fields {
		f.required = false
		changed[i] = f
	}
	return verb{name: "update", method: http.MethodPatch, path: path, short: short, fields: changed,
		long: "What no flag names stays as it is. An empty value takes a member away."}
}

// deleteVerb asks first, when there is something more to be lost than the record.
func deleteVerb(name, path, short, said, asks string) verb {
	return verb{name: name, method: http.MethodDelete, path: path, short: short, said: said, asks: asks}
}

func actVerb(name, path, short string, secrets ...string) verb {
	return verb{name: name, method: http.MethodPost, path: path, short: short, secrets: secrets}
}

func (v verb) with(fields ...field) verb {
	v.fields = append(v.fields, fields...)
	return v
}

func (v verb) showing(secrets ...string) verb {
	v.secrets = secrets
	return v
}

func (v verb) telling(long, example string) verb {
	v.long, v.example = long, example
	return v
}

func (v verb) orAt(flag, usage, path, shown string) verb {
	v.other = other{flag, usage, path, columns(shown)}
	return v
}
