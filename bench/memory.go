package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// resident is the memory of a process that is in RAM.
type resident struct {
	all float64 // MiB
	own float64 // MiB, without pages of files, which the system may drop when somebody else needs the room
}

// residentMemory reads what Linux says about the process.
func (c *child) residentMemory() (resident, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid))
	if err != nil {
		return resident{}, fmt.Errorf("read the memory of %s: %w", c.name, err)
	}
	var r resident
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		fields := bytes.Fields(lines.Bytes())
		if len(fields) != 3 {
			continue
		}
		kib, err := strconv.ParseFloat(string(fields[1]), 64)
		switch name := string(fields[0]); {
		case err != nil:
		case name == "VmRSS:":
			r.all = kib / 1024
		case name == "RssAnon:":
			r.own = kib / 1024
		}
	}
	if r.all == 0 {
		return r, fmt.Errorf("process %d of %s has no memory", c.pid, c.name)
	}
	return r, nil
}

func memoryMetrics() []metric {
	return []metric{{"resident memory", "MiB"}, {"of it without files", "MiB"}}
}

// withMemory adds the memory of a server to other values about it.
func withMemory(c *child, values []float64, err error) ([]float64, error) {
	if err != nil {
		return nil, err
	}
	r, err := c.residentMemory()
	return append(values, r.all, r.own), err
}

// allocations are those of a Mandate server since it has started, as it tells them.
type allocations struct {
	count, bytes float64
}

func (c *child) allocations(ctx context.Context, authorization string) (a allocations, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.address+"/metrics", nil)
	if err != nil {
		return a, fmt.Errorf("ask %s for its metrics: %w", c.name, err)
	}
	request.Header.Set("Authorization", authorization)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return a, fmt.Errorf("ask %s for its metrics: %w", c.name, err)
	}
	defer func() { _ = response.Body.Close() }()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "go_memstats_mallocs_total":
			a.count, err = strconv.ParseFloat(value, 64)
		case "go_memstats_alloc_bytes_total":
			a.bytes, err = strconv.ParseFloat(value, 64)
		}
		if err != nil {
			return a, fmt.Errorf("read the metrics of %s: %w", c.name, err)
		}
	}
	if a.count == 0 || a.bytes == 0 {
		return a, fmt.Errorf("%s does not tell its allocations, but answers %s", c.name, response.Status)
	}
	return a, nil
}
