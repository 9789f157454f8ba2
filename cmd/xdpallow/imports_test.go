package main

// Promise guarded here: imports point one way, each arrow between two packages is there for a
// reason that somebody wrote down, and no package grows until nobody can hold it in mind.
// To add an import is to add a row; a row that nobody needs any more fails, too.

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/xdpallow/xdpallow/"

// layers are the packages from the lowest to the highest. A package imports only from
// layers below its own, so those of one layer do not know each other.
var layers = [][]string{
	{
		"bpf", "bpf/bench", "cmd/internal/svg", "cmd/xdpallow/internal/places", "bpf/bpftest/disguise", "bpf/bpftest/oracle", "loader/lock", "loader/needs",
		"loader/netdev/ethtool", "loader/pins", "loader/probe", "loader/talkers", "loader/tree",
	},
	{"loader/fleet/fleettest", "loader/policy"},
	{"loader/fleet/layout/layouttest", "maps/bloom"},
	{"maps", "loader/netlab"},
	{"maps/counters"},
	{"maps/mapstest", "maps/ring", "loader/netdev", "loader/netlab/labtest"},
	{"loader", "loader/counts", "loader/events", "loader/netlab/liveflood", "loader/sockets", "loader/source", "loader/store"},
	{"loader/enrol", "loader/fleet/layout"},
	{"loader/api", "loader/config"},
	{"loader/declared", "loader/desired", "loader/fleet", "loader/follow"},
	{"loader/compile", "loader/effective", "loader/fleet/edits", "loader/nesting", "loader/transfer", "loader/undo"},
	{"loader/desired/desiredtest", "loader/impact", "loader/query", "loader/repair", "loader/stored", "loader/usage"},
	{"loader/problems"},
	{"loader/attach", "loader/enforce", "loader/logtext", "loader/observer", "loader/offline"},
	{"loader/shown"},
	{"loader/reconcile"},
	{"loader/verbs"},
	{"loader/doctor"},
	{"cmd/xdpallow/internal/control", "cmd/xdpallow/internal/demo", "cmd/xdpallow/internal/e2e", "cmd/xdpallow/internal/metrics", "cmd/xdpallow/internal/spool", "cmd/xdpallow/internal/tabular", "cmd/xdpallow/internal/top"},
	{"cmd/xdpallow/internal/enrol", "cmd/xdpallow/internal/owner", "cmd/xdpallow/internal/probing"},
	{"cmd/bench", "cmd/kernels", "cmd/panel", "cmd/xdpallow"},
}

// arrows are the imports that are allowed: from, to, and why.
var arrows = map[string]map[string]string{
	"loader/counts": {"loader/policy": "the entries that are counted", "loader/tree": "the numbers, sorted, of which an edit shares most"},
	"loader/policy": {"loader/tree": "the entries, sorted, of which an edit shares most"},
	"maps/bloom":    {"bpf": "sizes and a block of the filter, as the C declares them"},
	"maps":          {"bpf": "the types, maps and programs that the C declares", "maps/bloom": "the bits that it writes"},
	"maps/counters": {"bpf": "the array that programs count in", "maps": "verdict, reason and family of a counter"},
	"maps/ring":     {"bpf": "the record of a sample", "maps": "the ring, and the words of a sample"},
	"maps/mapstest": {"bpf": "the object that a test loads", "maps": "the tables that it is loaded with", "maps/counters": "what a loaded program counts"},

	"loader": {
		"bpf":           "the programs that are attached",
		"maps":          "the tables and answers that programs have",
		"maps/counters": "what programs count, kept for each interface",
		"loader/lock":   "one owner of a pin root",
		"loader/needs":  "says which capability is missing where the kernel forbids",
		"loader/netdev": "the devices that programs are attached to",
		"loader/pins":   "where programs, links and counters are kept",
	},
	"loader/netdev": {
		"maps":                  "own addresses in the form that the backstop's table has",
		"loader/netdev/ethtool": "drivers, queues and offloads",
	},
	"loader/netlab":         {"loader/netdev/ethtool": "gives the lab's devices queues and offloads"},
	"loader/netlab/labtest": {"loader/netlab": "the labs that it makes for tests"},
	"loader/netlab/liveflood": {
		"bpf/bench":             "the program that makes the frames",
		"loader/netlab":         "the lab that is flooded",
		"loader/netlab/labtest": "the frame that is sent again and again",
	},

	"loader/enrol": {
		"loader/policy": "claims and entries",
		"loader/source": "addresses that nobody has on the Internet",
	},
	"loader/config": {
		"loader/enrol":  "who may enrol",
		"loader/policy": "what a config file declares",
		"loader/source": "the origins that it names",
	},
	"loader/events":  {"maps/ring": "the samples of the kernel", "loader/talkers": "who is told of each event"},
	"loader/sockets": {"loader/policy": "the ports whose connections are listed and cut"},
	"loader/source":  {"loader/policy": "the entries that a file has"},
	"loader/store": {
		"loader/lock":   "one owner of a state directory",
		"loader/policy": "what is kept",
	},
	"loader/api": {
		"loader/policy":  "the words of entries, services and owners",
		"loader/store":   "the records of the history, which are shown as they are kept",
		"loader/talkers": "who sends, as it is counted",
	},
	"loader/desired": {
		"loader/api":    "the requests whose edits it makes, and what it says of them",
		"loader/policy": "entries, owners and services, and their rules",
		"loader/store":  "what is kept of them",
		"loader/counts": "what is counted of them",
	},
	"loader/compile": {
		"maps":           "the entries that it makes",
		"loader/desired": "the state that it makes them of",
		"loader/policy":  "entries and services",
		"loader/store":   "the owner ids and deadlines that are kept",
	},
	"loader/transfer": {
		"loader/api":     "who imports",
		"loader/desired": "the state that is written, and the edit that leads to another",
		"loader/policy":  "the lines of claims",
		"loader/store":   "suspensions and limits",
	},
	"loader/nesting": {
		"loader/desired": "who is stopped, by whom",
		"loader/policy":  "entries and their owners",
	},
	"loader/desired/desiredtest": {
		"loader/desired": "the states that it makes for tests",
		"loader/policy":  "the lists that it makes them of",
		"loader/store":   "what is kept of them",
	},
	"loader/impact": {
		"loader/api":     "whom a change disconnects, as it is told",
		"loader/policy":  "which sources two lists let in",
		"loader/sockets": "who is connected now",
	},
	"loader/query": {
		"loader/config":   "who has agreed to be probed",
		"maps/counters":   "what the programs counted",
		"loader":          "the gate that is asked",
		"loader/api":      "the answers",
		"loader/compile":  "owner ids and deadlines of what is enforced",
		"loader/desired":  "the state that is asked about",
		"loader/follow":   "how it goes with lists that are kept elsewhere",
		"loader/policy":   "entries, owners and services",
		"loader/sockets":  "who is connected",
		"loader/store":    "the history and when entries were last seen",
		"loader/transfer": "exports",
	},
	"loader/repair": {
		"maps":           "reads the tables, and puts them back",
		"loader":         "the gate that is asked and repaired",
		"loader/api":     "problems",
		"loader/compile": "the entries that the kernel should have",
		"loader/desired": "the state that it is held to",
		"loader/netdev":  "which interfaces and addresses there are",
		"loader/policy":  "services, prefixes and ports",
		"loader/sockets": "servers at ports that are not guarded",
	},
	"loader/declared": {
		"loader/config": "the config file",
		"loader/policy": "claims and services, and what would open",
		"loader/source": "list files",
	},
	"loader/fleet/layout":            {"loader/policy": "lines, edits and names"},
	"loader/fleet/layout/layouttest": {"loader/policy": "lines and claims"},
	"loader/fleet": {
		"loader/fleet/layout": "what stands in etcd",
		"loader/policy":       "the lines of a list, and who may be stopped",
		"loader/source":       "a host's readings, and where they are read",
	},
	"loader/fleet/edits": {
		"loader/fleet/layout": "suspensions and limits of a list",
		"loader/api":          "the requests of the commands",
		"loader/desired":      "the rules by which a host takes the same commands",
		"loader/fleet":        "the list that is changed",
		"loader/policy":       "entries and guard rails",
		"loader/source":       "what every host refuses",
		"loader/store":        "suspensions and limits, as the rules have them",
	},
	"loader/follow": {
		"loader/api":    "status and problems",
		"loader/policy": "origins and their claims",
		"loader/source": "readings, and the settings of origins",
		"loader/store":  "what is kept of an origin",
	},
	"loader/undo": {
		"loader/api":     "problems",
		"loader/desired": "the edit that takes a change back",
		"loader/follow":  "which origins are forgotten with a change that is taken back",
		"loader/policy":  "the origins that are held",
		"loader/store":   "what it keeps of the last change",
		"loader/source":  "what is followed after a change was taken back",
	},
	"loader/stored": {
		"loader/compile": "the clock, owner ids and deadlines that are kept",
		"loader/desired": "the state that was enforced",
		"loader/lock":    "a daemon that has the database open",
		"loader/policy":  "claims",
		"loader/store":   "what is read",
		"loader/undo":    "the files that are held",
		"loader/source":  "the origins that were followed",
	},
	"loader/attach": {
		"loader":        "attaches and detaches",
		"loader/api":    "problems",
		"loader/netdev": "which interfaces there are, and what a name stands for",
		"loader/repair": "what was found detached, and why one is not attached",
	},
	"loader/logtext": {
		"loader/api":    "callers",
		"loader/policy": "entries and services",
	},
	"loader/enforce": {
		"maps":           "the tables that it writes",
		"loader":         "the gate",
		"loader/compile": "the entries that a state comes to",
		"loader/desired": "the states",
		"loader/policy":  "what differs between two of them",
		"loader/query":   "the view of what is enforced",
		"loader/repair":  "what the kernel is held to, and how prefixes are named",
		"loader/store":   "where owners are forgotten whose ids are given back",
		"loader/stored":  "the key under which owner ids are kept",
		"loader/usage":   "how entries were used that a publish retires",
	},
	"loader/observer": {
		"maps/ring":      "samples of refused packets",
		"loader":         "the gate that refuses them",
		"loader/api":     "owners, with what they missed",
		"loader/events":  "reads samples, and keeps the last of them",
		"loader/query":   "the entries beside which packets are refused",
		"loader/store":   "where near misses are kept",
		"loader/stored":  "reads them",
		"loader/talkers": "who sends",
	},
	"loader/offline": {
		"loader":          "the gate that is up",
		"loader/api":      "the answers",
		"loader/compile":  "the entries that the kernel should have",
		"loader/declared": "what a start would read",
		"loader/desired":  "the state that a start would lead to",
		"loader/follow":   "the origins that were followed",
		"loader/impact":   "who is logged in",
		"loader/policy":   "prefixes and ports",
		"loader/query":    "answers from what there is",
		"loader/repair":   "what is not as it should be in the kernel",
		"loader/store":    "the state directory",
		"loader/stored":   "the state that was enforced",
		"loader/usage":    "how entries and owners were used",
	},
	"loader/usage": {
		"maps":           "what the kernel counts",
		"loader/compile": "the clock and the owner ids that it counts by",
		"loader/policy":  "the entries that are used",
		"loader/store":   "what was counted before",
	},
	"loader/shown": {
		"loader/config":   "who has agreed to be probed",
		"loader/api":      "the answers",
		"loader/compile":  "how long a confirmation may still come",
		"loader/events":   "refused packets, as who follows them gets them",
		"loader/follow":   "the origins that are followed",
		"loader/netdev":   "interfaces that are not guarded",
		"loader/observer": "whom the gate refuses",
		"loader/policy":   "addresses and ports that are asked about",
		"loader/query":    "the answers that need no daemon",
		"loader/repair":   "how interfaces are guarded",
		"loader/store":    "the history, and what waits for its confirmation",
	},
	"loader/effective": {"loader/store": "the list, and the database that it follows"},
	"loader/problems": {
		"loader/api":      "problems",
		"loader/declared": "files that fail, and where something is declared",
		"loader/desired":  "entries that are not enforced",
		"loader/follow":   "how it goes with lists that are kept elsewhere",
		"loader/policy":   "modes and origins",
		"loader/repair":   "the order of problems",
		"loader/store":    "what was wrong with files",
		"loader/undo":     "the files that are held",
	},
	"loader/reconcile": {
		"loader/effective": "when the effective list is written",
		"loader/problems":  "lists what an operator should mend",
		"loader":           "the gate that is kept right",
		"loader/api":       "requests and results",
		"loader/attach":    "keeps the named interfaces guarded",
		"loader/logtext":   "the words of the log",
		"loader/compile":   "what is published",
		"loader/config":    "the settings that a daemon began with",
		"loader/declared":  "what a start and a reload read",
		"loader/desired":   "the state that a change begins and ends with",
		"loader/enforce":   "brings the kernel from one state to the next",
		"loader/enrol":     "what a customer may let in himself",
		"loader/follow":    "how it goes with lists that are kept elsewhere",
		"loader/impact":    "whom a change would disconnect",
		"loader/lock":      "one daemon for a state directory",
		"loader/nesting":   "whose networks a change lists something in",
		"loader/netdev":    "which interfaces there are, and when that changes",
		"loader/policy":    "entries, owners and services",
		"loader/query":     "the answers of a daemon",
		"loader/repair":    "what is not as it should be in the kernel, and puts it right",
		"loader/source":    "follows them",
		"loader/store":     "what a change is written to before it is acknowledged",
		"loader/stored":    "what an earlier daemon left",
		"loader/transfer":  "what an import opens",
		"loader/shown":     "answers questions from what stood when the lock was last given back",
		"loader/undo":      "what is held after a change was taken back",
		"loader/usage":     "how entries and owners are used",
	},
	"loader/verbs": {
		"loader/api":       "requests and answers",
		"loader/compile":   "the time by which audits end",
		"loader/desired":   "the edit that a command comes to, and what refuses it",
		"loader/impact":    "whose connections are cut",
		"loader/logtext":   "the words of the log",
		"loader/nesting":   "whose networks a change lists something in",
		"loader/netdev":    "the network namespace that a probe must be in",
		"loader/policy":    "claims, guard rails",
		"loader/query":     "what holds after a change",
		"loader/reconcile": "makes the change",
		"loader/store":     "suspensions",
		"loader/transfer":  "exports that are imported",
	},
	"loader/doctor": {
		"loader":          "what an interface has attached",
		"loader/api":      "the status of a daemon, and problems",
		"loader/needs":    "capabilities and kernel features",
		"loader/netdev":   "drivers, addresses and other ways in",
		"loader/pins":     "whether pins would outlive the process",
		"loader/policy":   "the services to guard",
		"loader/problems": "problems of the state that a running daemon tells as well",
		"loader/repair":   "problems of the gate that a running daemon tells as well",
		"loader/sockets":  "servers at ports that are not guarded",
		"loader/store":    "the state directory",
	},

	"cmd/xdpallow/internal/control": {
		"cmd/xdpallow/internal/places": "one user does not take all connections",
		"loader/api":                   "what crosses the socket",
		"loader/events":                "the stream of refused packets",
		"loader/policy":                "refusals and their hints",
		"loader/impact":                "where the caller is logged in",
	},
	"cmd/xdpallow/internal/metrics": {
		"loader/api": "what is scraped",
	},
	"cmd/xdpallow/internal/demo": {
		"loader/api":    "counters and talkers, as commands print them",
		"loader/netlab": "the namespaces in which it plays",
		"loader/policy": "what it refuses",
	},
	"cmd/xdpallow/internal/top": {
		"loader/api":     "what is drawn",
		"loader/policy":  "how ports and prefixes are written",
		"loader/talkers": "who sends",
	},
	"cmd/xdpallow/internal/tabular": {
		"loader/policy": "what may be printed",
	},
	"cmd/xdpallow/internal/enrol": {
		"cmd/xdpallow/internal/places":  "strangers do not take all connections",
		"cmd/xdpallow/internal/control": "makes the socket, and asks who is at the other end",
		"loader/api":                    "callers and problems",
		"loader/enrol":                  "what a customer may let in himself",
		"loader/events":                 "who enrolled, and who did not",
	},
	"cmd/xdpallow/internal/owner": {
		"cmd/xdpallow/internal/control": "makes a socket where a dead daemon left one",
		"loader/api":                    "whose an address is, and problems",
		"loader/config":                 "where it listens",
		"loader/events":                 "a key that is used from another's address",
		"loader/policy":                 "reasons and services",
	},
	"cmd/xdpallow/internal/probing": {
		"loader/api":    "what the daemon counts, and what was found",
		"loader/netdev": "the network namespace that a probe must be in",
		"loader/policy": "how counts and durations are written",
		"loader/probe":  "when to knock, and what follows from what was counted",
	},
	"cmd/xdpallow": {
		"cmd/xdpallow/internal/spool":   "texts that are passed on when they are whole",
		"cmd/xdpallow/internal/control": "talks with the daemon",
		"cmd/xdpallow/internal/demo":    "demo",
		"cmd/xdpallow/internal/enrol":   "enrol, and what the daemon has for it",
		"cmd/xdpallow/internal/metrics": "--metrics",
		"cmd/xdpallow/internal/owner":   "the endpoint that proxies ask",
		"cmd/xdpallow/internal/probing": "probe",
		"cmd/xdpallow/internal/tabular": "tables",
		"cmd/xdpallow/internal/top":     "top",
		"loader":                        "the errors that have a hint, and the modes of --attach",
		"loader/api":                    "requests and what is printed",
		"loader/config":                 "--config",
		"loader/declared":               "the flags and files of run",
		"loader/doctor":                 "doctor",
		"loader/enrol":                  "who may enrol",
		"loader/events":                 "events",
		"loader/fleet":                  "fleet, and following one",
		"loader/fleet/layout":           "manifests as they are printed",
		"loader/fleet/edits":            "what its commands make of the list",
		"loader/impact":                 "who is logged in, and whom a change disconnects",
		"loader/nesting":                "whose networks a change of a fleet lists something in",
		"loader/offline":                "what works without a daemon",
		"loader/policy":                 "entries as they are typed and printed",
		"loader/probe":                  "the answers of probe, and its bounds",
		"loader/query":                  "entries of a fleet as they are printed",
		"loader/reconcile":              "run",
		"loader/store":                  "the state directory of run",
		"loader/stored":                 "whether there is a policy to fall back on",
		"loader/transfer":               "whether an export can be read again",
		"loader/verbs":                  "run, and the commands that change the list",
	},
	"cmd/bench": {
		"cmd/internal/svg":        "the chart",
		"bpf":                     "the object that is measured",
		"bpf/bench":               "the programs that it is measured against",
		"loader/netlab":           "where it is measured",
		"loader/netlab/labtest":   "the commands that are run in it",
		"loader/netlab/liveflood": "a flood that costs the sender little",
		"maps":                    "the tables of the object",
		"maps/counters":           "how many packets were measured",
		"maps/mapstest":           "frames, and programs that are run by hand",
	},
	"cmd/panel": {"cmd/internal/svg": "the picture", "loader/netlab": "the attack that is drawn"},
}

// goPackage is what `go list -json` tells of a package.
type goPackage struct {
	ImportPath, Dir  string
	Imports, GoFiles []string
}

// name is how this file calls a package.
func (p goPackage) name() string { return strings.TrimPrefix(p.ImportPath, module) }

// goList asks go for packages of this module.
func goList(t *testing.T, args ...string) (packages []goPackage) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Dir,Imports,GoFiles"}, args...)...)
	cmd.Dir, cmd.Stderr = filepath.Join("..", ".."), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.ImportPath, module) {
			packages = append(packages, p)
		}
	}
}

func layerOf(name string) int {
	return slices.IndexFunc(layers, func(layer []string) bool { return slices.Contains(layer, name) })
}

func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	used := map[[2]string]bool{}
	packages := goList(t, "./...")
	for _, p := range packages {
		if layerOf(p.name()) < 0 {
			t.Errorf("%s is in no layer", p.name())
		}
		for _, imported := range p.Imports {
			to, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			used[[2]string{p.name(), to}] = true
			if arrows[p.name()][to] == "" {
				t.Errorf("%s imports %s, and no row says why", p.name(), to)
			}
			if layerOf(to) >= layerOf(p.name()) {
				t.Errorf("%s imports %s, which is not below it", p.name(), to)
			}
		}
	}
	for from, row := range arrows {
		for to := range row {
			if !used[[2]string{from, to}] {
				t.Errorf("%s does not import %s: delete its row", from, to)
			}
		}
	}
	for _, layer := range layers {
		for _, name := range layer {
			if !slices.ContainsFunc(packages, func(p goPackage) bool { return p.name() == name }) {
				t.Errorf("there is no package %s: delete it from its layer", name)
			}
		}
	}
}

// Promise: etcd is one package's business: no other knows its client, or what it is made of.
func TestEtcdIsImportedOnce(t *testing.T) {
	t.Parallel()
	found := false
	for _, p := range goList(t, "./...") {
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, "go.etcd.io/etcd/") || strings.HasPrefix(imported, "google.golang.org/grpc") || strings.HasPrefix(imported, "go.uber.org/zap") {
				found = true
				if p.name() != "loader/fleet" {
					t.Errorf("%s imports %s", p.name(), imported)
				}
			}
		}
	}
	if !found {
		t.Error("nobody imports etcd")
	}
}

// mostLines is how long a package that ships may be, and larger the ones that may be longer.
const mostLines = 2000

var larger = map[string]int{
	"cmd/xdpallow":     6935, // each command with its flags, its words and its table; the fourteen of fleet
	"loader/policy":    4010, // every rule of the list, which is read in parts, and the entries packed; pure
	"loader/reconcile": 3000, // the order of a change, of a start and of timers
	"loader/store":     5930, // two copies of the state, each rebuilt from the other
}

func TestPackagesStaySmall(t *testing.T) {
	t.Parallel()
	for _, p := range goList(t, "-deps", "./cmd/xdpallow") {
		lines := 0
		for _, file := range p.GoFiles {
			lines += countLines(t, filepath.Join(p.Dir, file))
		}
		most := mostLines
		if larger[p.name()] > 0 {
			most = larger[p.name()]
		}
		if lines > most {
			t.Errorf("%s has %d lines, at most %d: what of it is a thing of its own?", p.name(), lines, most)
		}
	}
}

func countLines(t *testing.T, path string) (lines int) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for scanner := bufio.NewScanner(file); scanner.Scan(); lines++ {
	}
	return lines
}

// Whoever changes the engine must know what each of its fields means for each of its methods.
func TestEngineHasFewFields(t *testing.T) {
	t.Parallel()
	const most = 12
	paths, err := filepath.Glob("../../loader/reconcile/*.go")
	if err != nil {
		t.Fatal(err)
	}
	fields := 0
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			declared, ok := n.(*ast.TypeSpec)
			if !ok || declared.Name.Name != "Engine" {
				return true
			}
			for _, f := range declared.Type.(*ast.StructType).Fields.List {
				fields += max(1, len(f.Names))
			}
			return false
		})
	}
	if fields == 0 || fields > most {
		t.Errorf("the engine has %d fields, want 1 to %d", fields, most)
	}
}
