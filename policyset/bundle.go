package policyset

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"

	"mandate/engine"
)

// Bounds of a bundle. The engine bounds what a set may hold of it.
const (
	MaxBundle          = 32 << 20 // bytes of the file
	maxBundleUnpacked  = 64 << 20
	maxBundleFiles     = 10_000
	maxBundleOfOneFile = 32 << 20
)

// Verification says how the signature of a bundle is verified, as in OPA's configuration.
type Verification struct {
	// Keys are the public keys, or shared secrets, by their id, which the signature names. When there is only one, it need not.
	Keys  map[string]VerificationKey
	Scope string
}

// VerificationKey is a public key as PEM, or the secret of an HMAC.
type VerificationKey struct {
	Key       string
	Algorithm string // RS256 when empty
}

func (v *Verification) config() *bundle.VerificationConfig {
	keys := map[string]*bundle.KeyConfig{}
	only := ""
	for id, key := range v.Keys {
		if key.Algorithm == "" {
			key.Algorithm = "RS256"
		}
		keys[id] = &bundle.KeyConfig{Key: key.Key, Algorithm: key.Algorithm}
		only = id
	}
	if len(keys) > 1 {
		only = ""
	}
	return bundle.NewVerificationConfig(keys, only, v.Scope, nil)
}

// ReadBundle takes the files of a policy set out of an OPA bundle. Without a verification its signature is not looked at; with one it
// must be there.
func ReadBundle(raw []byte, verify *Verification) ([]engine.File, error) {
	if err := bounded(raw); err != nil {
		return nil, fmt.Errorf("read the bundle: %w", err)
	}
	loader := bundle.NewTarballLoaderWithBaseURL(bytes.NewReader(raw), "").WithSizeLimitBytes(maxBundleOfOneFile)
	reader := bundle.NewCustomReader(loader).WithSizeLimitBytes(maxBundleOfOneFile).WithRegoVersion(ast.RegoV1).WithLazyLoadingMode(false)
	if verify == nil {
		reader = reader.WithSkipBundleVerification(true)
	} else {
		reader = reader.WithBundleVerificationConfig(verify.config())
	}
	b, err := reader.Read()
	var parsing ast.Errors
	switch {
	case errors.As(err, &parsing):
		return nil, engine.Refused(err)
	case err != nil:
		return nil, fmt.Errorf("read the bundle: %w", err)
	case b.Type() == bundle.DeltaBundleType:
		return nil, errors.New("read the bundle: it is a delta bundle: give a snapshot")
	case len(b.WasmModules) > 0:
		return nil, errors.New("read the bundle: it holds WebAssembly: build it with --target rego")
	}
	files := make([]engine.File, 0, len(b.Modules)+1)
	for _, m := range b.Modules {
		files = append(files, engine.File{Name: strings.TrimPrefix(path.Clean("/"+m.Path), "/"), Text: string(m.Raw)})
	}
	if len(b.Data) > 0 {
		data, err := json.Marshal(b.Data)
		if err != nil {
			return nil, fmt.Errorf("read the data of the bundle: %w", err)
		}
		files = append(files, engine.File{Name: "data.json", Text: string(data)})
	}
	return files, nil
}

// bounded refuses what would take much memory to read, before any of it is kept. OPA's loader makes room for the size that the header of
// a file says, of which a sparse file need not have a byte.
func bounded(raw []byte) error {
	if len(raw) > MaxBundle {
		return fmt.Errorf("more than %d bytes", MaxBundle)
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("not the gzipped tar that \"mandate policy build\" and \"opa build\" write: %w", err)
	}
	all := &io.LimitedReader{R: unpacked, N: maxBundleUnpacked + 1}
	files := tar.NewReader(all)
	for n, size := 0, int64(0); ; n++ {
		header, err := files.Next()
		switch {
		case all.N <= 0 || n > maxBundleFiles:
			return tooMuch()
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("not a gzipped tar: %w", err)
		case header.Typeflag == tar.TypeXGlobalHeader:
			continue // "git archive" writes one
		case header.Typeflag != tar.TypeReg && header.Typeflag != tar.TypeDir || isSparse(header):
			return fmt.Errorf("%.200q is neither a regular file nor a folder", header.Name)
		}
		if header.Size > maxBundleUnpacked-size {
			return tooMuch()
		}
		size += header.Size
		if !bundle.IsYAMLDataFile(header.Name) {
			continue
		}
		text, err := io.ReadAll(files)
		if err != nil {
			return fmt.Errorf("not a gzipped tar: %w", err)
		}
		if err := engine.PlainYAML(text); err != nil {
			return fmt.Errorf("%.200q: %w", header.Name, err)
		}
	}
}

func tooMuch() error {
	return fmt.Errorf("unpacks to more than %d bytes or %d files", maxBundleUnpacked, maxBundleFiles)
}

func isSparse(header *tar.Header) bool {
	for name := range header.PAXRecords {
		if strings.HasPrefix(name, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// Signing says how a bundle is signed, as "opa build" has it.
type Signing struct {
	Key       string // file of the private key (PEM), or of the secret of an HMAC
	Algorithm string // RS256 when empty
	KeyID     string
	Claims    string // file of further claims, such as the scope; none when empty
}

// WriteBundle writes a set as an OPA bundle of that revision, signed unless sign is nil. The same set is the same bytes, but for
// signatures that use randomness.
func WriteBundle(w io.Writer, set *engine.PolicySet, revision string, sign *Signing) error {
	data, err := engine.Data(set.Files())
	if err != nil {
		return err
	}
	b := bundle.Bundle{Data: data, Manifest: bundle.Manifest{Revision: revision}}
	b.SetRegoVersion(ast.RegoV1)
	roots := map[string]bool{}
	for name := range data {
		roots[name] = true
	}
	for _, f := range set.Files() {
		if path.Ext(f.Name) != ".rego" {
			continue
		}
		module, err := ast.ParseModuleWithOpts(f.Name, f.Text, ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			return engine.Refused(err)
		}
		if root, ok := module.Package.Path[1].Value.(ast.String); ok {
			roots[string(root)] = true
		}
		b.Modules = append(b.Modules, bundle.ModuleFile{URL: f.Name, Path: f.Name, Raw: []byte(f.Text), Parsed: module})
	}
	sorted := slices.Sorted(maps.Keys(roots))
	b.Manifest.Roots = &sorted
	if sign != nil {
		if err := b.GenerateSignature(bundle.NewSigningConfig(sign.Key, sign.Algorithm, sign.Claims), sign.KeyID, true); err != nil {
			return fmt.Errorf("sign the bundle: %w", err)
		}
	}
	if err := bundle.Write(w, b); err != nil {
		return fmt.Errorf("write the bundle: %w", err)
	}
	return nil
}
