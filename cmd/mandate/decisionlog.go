package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"mandate/datastore"
	"mandate/decisionlog"
	"mandate/decisionlog/sink"
	"mandate/directory"
	"mandate/server"
)

// What happens to decisions that cannot be logged.
const (
	whenFullDeny  = "deny"
	whenFullAllow = "allow"
)

// decisionLogConfig is about the decision logs of all tenants.
type decisionLogConfig struct {
	Mode        string        `yaml:"mode"`
	WhenFull    string        `yaml:"when_full"`
	SegmentSize byteSize      `yaml:"segment_size"`
	Retention   time.Duration `yaml:"retention"`
	MaxSize     byteSize      `yaml:"max_size"` // of each tenant; 0 for no bound
	Sinks       []sinkConfig  `yaml:"sinks,omitempty"`
}

// sinkConfig is where records are sent beside the log, of each tenant.
type sinkConfig struct {
	Type      string   `yaml:"type"`           // stdout, file or opa
	Name      string   `yaml:"name,omitempty"` // the type when left out
	Path      string   `yaml:"path,omitempty"`
	URL       string   `yaml:"url,omitempty"`
	TokenFile string   `yaml:"token_file,omitempty"`
	MaxBatch  int      `yaml:"max_batch,omitempty"`  // records at once
	MaxUpload byteSize `yaml:"max_upload,omitempty"` // compressed
}

func defaultDecisionLog() decisionLogConfig {
	return decisionLogConfig{Mode: string(decisionlog.CrashSafe), WhenFull: whenFullDeny, SegmentSize: 64 << 20, Retention: 2160 * time.Hour}
}

func (c *decisionLogConfig) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&c.Mode, "decision-log-mode", c.Mode, "crash-safe (a decision is answered when the kernel has its record), durable (when the disk has it) or off")
	flags.StringVar(&c.WhenFull, "decision-log-when-full", c.WhenFull, "deny what cannot be logged, or allow it and raise an alarm")
	flags.Var(&c.SegmentSize, "decision-log-segment-size", "size at which a file of the decision log is ended")
	flags.DurationVar(&c.Retention, "decision-log-retention", c.Retention, "how long decisions are kept; 0 for ever")
	flags.Var(&c.MaxSize, "decision-log-max-size", "size of a tenant's decision log from which on the oldest files go; 0 for no bound")
}

func (c *decisionLogConfig) check() (problems []error) {
	wrong := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("decision_log."+format, args...))
	}
	switch decisionlog.Mode(c.Mode) {
	case decisionlog.CrashSafe, decisionlog.Durable, decisionlog.Off:
	default:
		wrong("mode must be crash-safe, durable or off")
	}
	if c.WhenFull != whenFullDeny && c.WhenFull != whenFullAllow {
		wrong("when_full must be deny or allow")
	}
	if c.SegmentSize < 1<<20 || c.SegmentSize > 1<<30 {
		wrong("segment_size must be between 1MiB and 1GiB")
	}
	if c.Retention != 0 && c.Retention < time.Hour {
		wrong("retention must be at least 1h, or 0 for ever")
	}
	if c.MaxSize != 0 && c.MaxSize < 2*c.SegmentSize {
		wrong("max_size must be at least twice segment_size, or 0 for no bound")
	}
	if len(c.Sinks) > 0 && c.Mode == string(decisionlog.Off) {
		wrong("sinks get nothing while mode is off")
	}
	names := map[string]bool{}
	for i, s := range c.Sinks {
		for _, problem := range s.check() {
			wrong("sinks[%d]: %s", i, problem)
		}
		if names[s.name()] {
			wrong("sinks[%d]: another sink has the name %q: give each one of its own", i, s.name())
		}
		names[s.name()] = true
	}
	return problems
}

func (c sinkConfig) name() string {
	if c.Name == "" {
		return c.Type
	}
	return c.Name
}

func (c sinkConfig) check() (problems []string) {
	wrong := func(text string) { problems = append(problems, text) }
	if name := datastore.TenantID(c.name()); c.Name != "" && !name.Valid() {
		wrong("name must be lower case letters, digits and inner hyphens, at most 63")
	}
	if c.MaxBatch < 0 || c.MaxBatch > 100_000 {
		wrong("max_batch must be between 1 and 100000")
	}
	if c.MaxUpload != 0 && (c.MaxUpload < 1<<10 || c.MaxUpload > 64<<20) {
		wrong("max_upload must be between 1KiB and 64MiB")
	}
	if (c.Path != "") != (c.Type == "file") {
		wrong("path goes with the type file")
	}
	if c.Type != "opa" && (c.URL != "" || c.TokenFile != "" || c.MaxUpload != 0) {
		wrong("url, token_file and max_upload are for the type opa")
	}
	switch c.Type {
	case "stdout", "file":
	case "opa":
		u, err := url.Parse(c.URL)
		switch {
		case err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http"):
			wrong("url must be an http or https URL without a user, such as https://logs.example/logs")
		case u.Scheme == "http" && c.TokenFile != "" && !server.Loopback(u.Hostname()):
			wrong("url must be https, for " + plainText)
		}
	default:
		wrong("type must be stdout, file or opa")
	}
	return problems
}

// to is where the sink sends records.
func (c sinkConfig) to(out io.Writer) (sink.Destination, error) {
	switch c.Type {
	case "stdout":
		return sink.Stream{To: out}, nil
	case "file":
		return sink.File{Path: c.Path}, nil
	}
	opa := &sink.OPA{URL: c.URL, Upload: int(c.MaxUpload), Client: sink.NewOPAClient()}
	if c.TokenFile == "" {
		return opa, nil
	}
	text, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("decision_log.sinks: token_file: %w", err)
	}
	opa.Token = directory.NewSecret(strings.TrimRight(string(text), "\r\n"))
	return opa, nil
}

// openLog opens the decision log of a tenant. Where nobody is served, nothing is logged.
func (s *service) openLog(c *config, tenant directory.Tenant) (*decisionlog.Log, error) {
	if s.show == nil {
		return decisionlog.Nothing(time.Now), nil
	}
	failing := "the decision log fails; while it cannot be written, nothing is decided"
	if c.DecisionLog.WhenFull == whenFullAllow {
		failing = "the decision log fails; while it cannot be written, decisions are made without being logged"
	}
	log, err := decisionlog.Open(filepath.Join(c.Data, "decisions", string(tenant)), decisionlog.Options{Tenant: string(tenant),
		Mode: decisionlog.Mode(c.DecisionLog.Mode), AllowUnlogged: c.DecisionLog.WhenFull == whenFullAllow, SegmentBytes: int64(c.DecisionLog.SegmentSize),
		Retention: c.DecisionLog.Retention, MaxBytes: int64(c.DecisionLog.MaxSize),
		Key: s.master.SigningKey(tenant, "decision log"), Now: time.Now, Report: func(err error) {
			if err != nil {
				s.log.Error(failing, "tenant", tenant, "error", err)
				return
			}
			s.log.Info("the decision log works again", "tenant", tenant)
		}})
	if err != nil {
		return nil, err
	}
	s.logs = append(s.logs, log)
	return log, nil
}

// startSinks sends the records of a tenant's log to the sinks until following ends.
func (s *service) startSinks(following context.Context, c *config, tenant directory.Tenant, log *decisionlog.Log) (figures []prometheus.Collector, err error) {
	for _, settings := range c.DecisionLog.Sinks {
		to, err := settings.to(os.Stdout)
		if err != nil {
			return nil, err
		}
		name := settings.name()
		sends := sink.New(sink.Options{Name: name, Tenant: string(tenant), Log: log, To: to, Batch: settings.MaxBatch, Now: time.Now, Report: func(err error) {
			if err != nil {
				s.log.Error("a sink of the decision log fails", "tenant", tenant, "sink", name, "error", err)
				return
			}
			s.log.Info("a sink of the decision log works again", "tenant", tenant, "sink", name)
		}})
		figures = append(figures, sends.Collectors()...)
		s.following.Go(func() { sends.Run(following) })
	}
	return figures, nil
}

// storeBytes is the size of the files of the store, which are those in the data folder itself.
func storeBytes(folder string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mandate_store_bytes", Help: "Size of the files of the datastore."}, func() float64 {
		files, err := os.ReadDir(folder)
		if err != nil {
			return 0
		}
		total := int64(0)
		for _, f := range files {
			if info, err := f.Info(); err == nil && info.Mode().IsRegular() {
				total += info.Size()
			}
		}
		return float64(total)
	})
}
