package owner

// This file tells the log what is wrong: with the endpoint, and with the proxies that ask it. A
// proxy asks for each request, so what is wrong with one would fill the log.

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
)

// mistake tells of a proxy's mistake: the first time, in the life of the daemon, for each service and
// reason. The count of answers has all of them.
func (h *Handler) mistake(service, asked, reason string) {
	if _, told := h.mistakes.LoadOrStore([2]string{service, reason}, true); told {
		return
	}
	text := fmt.Sprintf("%s: a proxy asks for service %s, and does not say where the request comes from (X-Forwarded-For)", reason, service)
	if reason == api.ReasonNoService {
		text = fmt.Sprintf("%s: a proxy asks for service %.64q, which is not there", reason, asked)
	}
	slog.Warn("owner endpoint: " + text + ": all its requests are refused; told once")
}

// faults takes what the HTTP server has to say of itself, as that it cannot accept connections or
// that an answer failed: one line a minute.
type faults struct{ alarm }

func (f *faults) Write(text []byte) (int, error) {
	if more, room := f.room(time.Now()); room {
		line, _, _ := strings.Cut(string(text), "\n")
		if more > 0 {
			line += fmt.Sprintf(" (%d more were not told)", more)
		}
		slog.Error("owner endpoint: " + line)
	}
	return len(text), nil
}
