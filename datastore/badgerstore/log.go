package badgerstore

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// badgerLogger passes what Badger says on to slog. What Badger calls information is of interest only to someone
// who debugs it.
type badgerLogger struct{ log *slog.Logger }

func (l badgerLogger) Errorf(format string, args ...any)   { l.write(slog.LevelError, format, args) }
func (l badgerLogger) Warningf(format string, args ...any) { l.write(slog.LevelWarn, format, args) }
func (l badgerLogger) Infof(format string, args ...any)    { l.write(slog.LevelDebug, format, args) }
func (l badgerLogger) Debugf(format string, args ...any)   { l.write(slog.LevelDebug-4, format, args) }

func (l badgerLogger) write(level slog.Level, format string, args []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "badger: "+strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}
