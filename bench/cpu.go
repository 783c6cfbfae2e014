package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// clockTick is the unit in which Linux tells programs their time (proc(5), USER_HZ).
const clockTick = 10 * time.Millisecond

// processorTime is what Linux says that a process has used of all cores, by itself and in the kernel for it.
func processorTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read the processor time of process %d: %w", pid, err)
	}
	// The name of the program, in parentheses, may contain anything. After it, user time is the 12th field.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("process %d has %d figures", pid, len(fields))
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the processor time of process %d: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// busy returns how long the process has used a core while do was running.
func busy(pid int, do func() error) (time.Duration, error) {
	before, err := processorTime(pid)
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := processorTime(pid)
	if err == nil && after <= before {
		err = fmt.Errorf("process %d did nothing that could be measured: give a longer -duration", pid)
	}
	return after - before, err
}
