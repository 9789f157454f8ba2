package problems

import (
	"fmt"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/store"
)

// This file has the problems of the state directory.

// Disk is a problem that more room in dir may end.
func Disk(code, dir, format string, args ...any) api.Problem {
	return api.Problem{Code: code, Subject: dir, Text: fmt.Sprintf(format, args...), Hint: "df " + dir}
}

// Unwritable is the problem that changes cannot be kept in dir, because of err.
func Unwritable(dir string, err error) api.Problem {
	return Disk(api.Unwritable, dir, "the last good list is enforced, and changes are refused: %v", err)
}

// NoRoom is the problem of a state directory where store.Room has found none.
func NoRoom(dir string, err error) api.Problem {
	return Disk(api.Unwritable, dir, "there is no room for changes, which may be refused: %v", err)
}

// StateOfOthers is the problem of a state directory to which others than uid may write, by
// what store.Others says of it.
func StateOfOthers(dir, who string, uid int) api.Problem {
	return api.Problem{
		Code: "state_open", Subject: dir,
		Text: who + ": who writes there decides who may connect after the next boot",
		Hint: fmt.Sprintf("chown %d %s; chmod 700 %s", uid, dir, dir),
	}
}

// OfState are the problems of a state directory: that others than uid may write to it, by what
// store.Others says, what was wrong with its files, and why its list could not be read, or nil.
func OfState(dir, others string, uid int, troubles []store.Trouble, torn error) (all []api.Problem) {
	if others != "" {
		all = append(all, StateOfOthers(dir, others, uid))
	}
	for _, t := range troubles {
		all = append(all, api.Problem{Code: "state_damaged", Subject: t.Path, Text: t.Text, Hint: t.Hint})
	}
	if torn != nil {
		all = append(all, api.Problem{Code: "state_torn", Subject: dir, Text: torn.Error(), Hint: "xdpallow list"})
	}
	return all
}
