package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"

	"mandate/directory"
)

// dataFile holds the data of a policy set, whatever files it was given in.
const dataFile = "data.json"

func (f File) isData() bool {
	switch path.Base(f.Name) {
	case dataFile, "data.yaml", "data.yml":
		return true
	}
	return false
}

// settle puts files into the order of their names and their data into one file, merged as in an OPA bundle: the content of a file is
// below data.<its folder>. So a folder and the bundle that was built of it are the same set.
func settle(files []File) ([]File, error) {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	var settled []File
	var problems []Problem
	data := map[string]any{}
	size, last := 0, ""
	for _, f := range files {
		if f.Name == last {
			problems = append(problems, Problem{File: f.Name, Message: "there are two files of this name"})
			continue
		}
		last = f.Name
		size += len(f.Text)
		if !f.isData() {
			settled = append(settled, f)
			continue
		}
		if err := mergeFile(data, f); err != nil {
			problems = append(problems, Problem{File: f.Name, Message: err.Error()})
		}
	}
	if size > maxPolicyBytes || len(files) > maxPolicyFiles {
		return nil, tooLarge()
	}
	if problems != nil {
		return nil, refuse(problems...)
	}
	if len(data) == 0 {
		return settled, nil
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(data); err != nil {
		return nil, refuse(Problem{File: dataFile, Message: err.Error()})
	}
	if size += text.Len(); size > 2*maxPolicyBytes {
		return nil, tooLarge() // what YAML escapes is longer in JSON
	}
	settled = append(settled, File{dataFile, text.String()})
	slices.SortFunc(settled, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return settled, nil
}

func tooLarge() error {
	return refuse(Problem{Message: fmt.Sprintf("more than %d files or %d bytes of policies and data", maxPolicyFiles, maxPolicyBytes)})
}

// mergeFile puts the content of a data file into its place.
func mergeFile(data map[string]any, f File) error {
	parse := util.UnmarshalJSON
	if path.Ext(f.Name) != ".json" {
		if err := PlainYAML([]byte(f.Text)); err != nil {
			return err
		}
		parse = util.Unmarshal
	}
	var content any
	if text := []byte(f.Text); len(bytes.TrimSpace(text)) > 0 {
		if err := parse(text, &content); err != nil {
			return fmt.Errorf("is not readable: %w", err)
		}
	}
	if content == nil {
		return nil
	}
	if folder := path.Dir(f.Name); folder != "." {
		for _, segment := range slices.Backward(strings.Split(folder, "/")) {
			content = map[string]any{segment: content}
		}
	}
	object, ok := content.(map[string]any)
	if !ok {
		return fmt.Errorf("the data of a policy set is an object, not %T", content)
	}
	for name := range object {
		if why := hides("data", name); why != "" {
			return fmt.Errorf("%s", why)
		}
	}
	return merge(data, object, "data")
}

// merge adds what is in from; at is where into is.
func merge(into, from map[string]any, at string) error {
	for name, value := range from {
		there, taken := into[name]
		if !taken {
			into[name] = value
			continue
		}
		a, both := there.(map[string]any)
		b, ok := value.(map[string]any)
		if !both || !ok {
			return fmt.Errorf("another file has a value at %s.%s too", at, name)
		}
		if err := merge(a, b, at+"."+name); err != nil {
			return err
		}
	}
	return nil
}

// Data is what the data files among the files of a policy set say, as OPA's stores take it.
func Data(files []File) (map[string]any, error) {
	data := map[string]any{}
	for _, f := range files {
		if !f.isData() {
			continue
		}
		if err := mergeFile(data, f); err != nil {
			return nil, refuse(Problem{File: f.Name, Message: err.Error()})
		}
	}
	return data, nil
}

// occupied says whether data has a value where rules have their path, as OPA's compiler asks it.
func occupied(data map[string]any) func(path []string) (bool, error) {
	return func(path []string) (bool, error) {
		var at any = data
		for _, segment := range path {
			object, ok := at.(map[string]any)
			if !ok {
				return true, nil
			}
			if at, ok = object[segment]; !ok {
				return false, nil
			}
		}
		return true, nil
	}
}

// staticOf is the data of a set as evaluators read it; nil when there is none.
func staticOf(data map[string]any) (ast.Value, error) {
	if len(data) == 0 {
		return nil, nil
	}
	v, err := ast.InterfaceToValue(data)
	if err != nil {
		return nil, refuse(Problem{File: dataFile, Message: err.Error()})
	}
	return v, nil
}

// hides says why a package or data of the set must not have a name: it would hide facts from all policies, or nobody could ever ask it.
func hides(what, name string) string {
	switch {
	case slices.Contains(directory.Collections(), name):
		return fmt.Sprintf("%s %q would hide the facts that policies read at data.%s: choose another name", what, name, name)
	case name == directory.PrivateRoot, name == "system":
		return fmt.Sprintf("%s %q is reserved: nothing at data.%s can be read; choose another name", what, name, name)
	}
	return ""
}
