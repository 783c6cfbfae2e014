package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"

	"mandate/engine/vm"
)

// A policy set is small; these bounds keep a folder chosen by mistake from filling the memory.
const (
	maxPolicyFiles = 2000
	maxPolicyBytes = 16 << 20
	maxErrors      = 100 // of the compiler, told at once
)

const resultVar = ast.Var("result")

// PolicySet is a compiled set of policies. What it decides never changes, and it is safe for concurrent use.
type PolicySet struct {
	revision string
	files    []File
	static   ast.Value // the data of the set; nil when it has none
	compiler *ast.Compiler
	points   map[Point]ast.Body
	// volatile says that a rule of the set uses the present time or randomness.
	volatile bool
	// program is what Mandate's machine runs; nil when it refuses the set, so that OPA's evaluator decides.
	program   *vm.Program
	unplanned error
	// distrusted is set once a decision of the program was found to differ from OPA's.
	distrusted atomic.Bool
	usual      usual
}

// Revision is the hash of the set's content, its tests included.
func (s *PolicySet) Revision() string { return s.revision }

// Files are the files of the set, its tests included, in the order of their names, with all its data in data.json. Nobody may change them.
func (s *PolicySet) Files() []File { return s.files }

// ShortRevision is the revision as people read it.
func (s *PolicySet) ShortRevision() string { return s.revision[:12] }

// Volatile says whether a rule of the set uses the present time or randomness, so that it may decide otherwise later.
func (s *PolicySet) Volatile() bool { return s.volatile }

// CompileError lists all that is wrong with a policy set.
type CompileError struct{ Problems []Problem }

// Problem is one thing that is wrong with a policy set. Line and Col start at 1; they and File are zero when the
// problem is not at one place.
type Problem struct {
	File      string
	Line, Col int
	Message   string
}

func (p Problem) String() string {
	message := strings.Join(strings.Fields(p.Message), " ") // some of OPA's have lines of their own
	switch {
	case p.File == "":
		return message
	case p.Line == 0:
		return fmt.Sprintf("%s: %s", p.File, message)
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, message)
}

// Error is one line per problem: file:line: message.
func (e *CompileError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

func refuse(problems ...Problem) error {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return &CompileError{Problems: problems}
}

// Compile makes a policy set of all files below fsys that end in .rego or are named data.json or data.yaml, except those whose name, or
// whose folder's name, begins with a dot. A set that does not compile in strict mode, whose own tests do not pass, or that lacks one of
// the decisions, is refused with a *CompileError. Other errors are those of fsys and ctx.
func Compile(ctx context.Context, fsys fs.FS) (*PolicySet, error) {
	files, err := Load(fsys)
	if err != nil {
		return nil, err
	}
	return Admit(ctx, files)
}

// CompileTested is Compile without running the tests: for policies that come with the binary, whose tests were run where it
// was built.
func CompileTested(ctx context.Context, fsys fs.FS) (*PolicySet, error) {
	files, err := Load(fsys)
	if err != nil {
		return nil, err
	}
	return CompileFiles(ctx, files)
}

// Admit is Compile for files from elsewhere.
func Admit(ctx context.Context, files []File) (*PolicySet, error) {
	settled, err := settle(files)
	if err != nil {
		return nil, err
	}
	return compile(ctx, settled, true)
}

// CompileFiles compiles what Files has returned of a set that was admitted once: its tests are not run again.
func CompileFiles(ctx context.Context, files []File) (*PolicySet, error) {
	settled, err := settle(files)
	if err != nil {
		return nil, err
	}
	return compile(ctx, settled, false)
}

// File is a source or data file of a policy set. Its name has slashes.
type File struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

func (f File) isTest() bool { return strings.HasSuffix(f.Name, "_test.rego") }

// Load reads the files of a policy set: see Compile.
func Load(fsys fs.FS) ([]File, error) {
	var files []File
	size := int64(0)
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasPrefix(entry.Name(), ".") && name != "." {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if entry.IsDir() {
			return nil
		}
		if path.Ext(name) != ".rego" && !(File{Name: name}).isData() {
			return nil
		}
		// A mounted configuration is often made of symbolic links, so it is the target that counts.
		info, err := fs.Stat(fsys, name)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		text, err := read(fsys, name, maxPolicyBytes-size)
		if err != nil {
			return err
		}
		if size += int64(len(text)); size > maxPolicyBytes || len(files) == maxPolicyFiles {
			return tooLarge()
		}
		files = append(files, File{name, text})
		return nil
	})
	if refused := (*CompileError)(nil); errors.As(err, &refused) {
		return nil, refused
	}
	if err != nil {
		return nil, fmt.Errorf("load policies: %w", err)
	}
	return files, nil
}

// read reads a file, but only a byte more than limit, by which the caller sees that it is too large.
func read(fsys fs.FS, name string, limit int64) (string, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	return string(text), err
}

// RevisionOf is what the revision of the set of these files would be.
func RevisionOf(files []File) (string, error) {
	settled, err := settle(files)
	if err != nil {
		return "", err
	}
	return revisionOf(settled), nil
}

// revisionOf hashes names and contents, each after its length, so that no two sets of files hash the same text.
func revisionOf(files []File) string {
	h := sha256.New()
	for _, f := range files {
		for _, s := range []string{f.Name, f.Text} {
			h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
			h.Write([]byte(s))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// compile compiles settled files.
func compile(ctx context.Context, files []File, test bool) (*PolicySet, error) {
	data, err := Data(files)
	if err != nil {
		return nil, err
	}
	production := make(map[string]*ast.Module)
	all := make(map[string]*ast.Module)
	var problems []Problem
	for _, f := range files {
		if f.isData() || f.isTest() && !test {
			continue
		}
		module, err := parse(f)
		if err != nil {
			problems = append(problems, problemsOf(err)...)
			continue
		}
		if problem := reserved(module); problem != nil {
			problems = append(problems, *problem)
		}
		all[f.Name] = module
		if !f.isTest() {
			production[f.Name] = module
		}
	}
	if problems != nil {
		return nil, refuse(problems...)
	}

	compiler := newCompiler().WithPathConflictsCheck(occupied(data))
	if compiler.Compile(production); compiler.Failed() {
		return nil, refuse(problemsOf(compiler.Errors)...)
	}
	set := &PolicySet{revision: revisionOf(files), files: files, compiler: compiler, points: make(map[Point]ast.Body),
		volatile: slices.ContainsFunc(compiler.Required.Builtins, vm.IsVolatile)}
	for _, p := range []Point{Access, Tokens, Manage} {
		ref := dataRef(append(strings.Split(string(p), "/"), "decision"))
		if !defines(compiler, ref) {
			problems = append(problems, Problem{Message: fmt.Sprintf("there is no rule %v, which every policy set must define", ref)})
		}
		set.points[p] = queryFor(ref)
	}
	if problems != nil {
		return nil, refuse(problems...)
	}
	if set.static, err = staticOf(data); err != nil {
		return nil, err
	}
	if test {
		if err := runTests(ctx, all, data); err != nil {
			return nil, err
		}
	}
	return set, set.plan(ctx, production)
}

// plan makes the program of the set, or says why it has none.
func (s *PolicySet) plan(ctx context.Context, modules map[string]*ast.Module) error {
	var plans []string
	for p := range s.points {
		plans = append(plans, plan(p))
	}
	slices.Sort(plans)
	policy, err := vm.Plan(ctx, modules, capabilities(), plans)
	if err == nil {
		s.program, err = vm.Compile(policy)
	}
	if err == nil && s.program.ReplacesData {
		err = errors.New("a policy puts something into data by \"with\"")
	}
	if err != nil {
		s.program, s.unplanned = nil, err
	}
	return ctx.Err()
}

// plan is the name of the plan of a decision, which is its path.
func plan(p Point) string { return string(p) + "/decision" }

// Compiler has the rules of the set without its tests, as they were compiled. Nobody may change it.
func (s *PolicySet) Compiler() *ast.Compiler { return s.compiler }

// Unplanned says why OPA's evaluator makes the decisions of the set; nil when Mandate's own machine does.
func (s *PolicySet) Unplanned() error { return s.unplanned }

func newCompiler() *ast.Compiler {
	return ast.NewCompiler().WithStrict(true).WithCapabilities(capabilities()).WithDefaultRegoVersion(ast.RegoV1).SetErrorLimit(maxErrors)
}

// defines says whether there is a rule, and not a function, at ref.
func defines(c *ast.Compiler, ref ast.Ref) bool {
	return slices.ContainsFunc(c.GetRulesExact(ref), func(r *ast.Rule) bool { return len(r.Head.Args) == 0 })
}

// reserved refuses a package that would hide facts from all policies, or that nobody could ever ask.
func reserved(m *ast.Module) *Problem {
	if len(m.Package.Path) < 2 {
		return nil
	}
	name, ok := m.Package.Path[1].Value.(ast.String)
	if !ok {
		return nil
	}
	why := hides("package", string(name))
	if why == "" {
		return nil
	}
	return &Problem{File: m.Package.Location.File, Line: m.Package.Location.Row, Col: m.Package.Location.Col, Message: why}
}

// Refused is OPA's error as that of a policy set.
func Refused(err error) error { return refuse(problemsOf(err)...) }

// problemsOf takes OPA's errors apart.
func problemsOf(err error) []Problem {
	var list ast.Errors
	if one := (*ast.Error)(nil); errors.As(err, &one) {
		list = ast.Errors{one}
	} else if !errors.As(err, &list) {
		return []Problem{{Message: err.Error()}}
	}
	problems := make([]Problem, len(list))
	for i, e := range list {
		problems[i].Message = e.Code + ": " + e.Message
		if name, ok := strings.CutPrefix(e.Message, "undefined function "); ok {
			if why, ok := unavailable()[name]; ok {
				problems[i].Message = fmt.Sprintf("%s is not available: %s", name, why)
			}
		}
		if e.Location != nil {
			problems[i].File, problems[i].Line, problems[i].Col = e.Location.File, e.Location.Row, e.Location.Col
		}
	}
	return problems
}

// dataRef is data.<segments>.
func dataRef(segments []string) ast.Ref {
	ref := make(ast.Ref, 0, len(segments)+1)
	ref = append(ref, ast.DefaultRootDocument)
	for _, s := range segments {
		ref = append(ref, ast.StringTerm(s))
	}
	return ref
}

// queryFor asks for the document at a ground ref. Such a query is evaluated as it stands, so none is ever compiled.
func queryFor(ref ast.Ref) ast.Body {
	return ast.NewBody(ast.Equality.Expr(ast.NewTerm(ref), ast.NewTerm(resultVar)))
}
