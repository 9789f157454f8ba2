package main

// Promise guarded here: what the documents name is there. Links lead to files, and cmd/README.md
// has every metric and every problem code, and no other.

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/metrics"
)

const root = "../.."

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// all returns what the first group of pattern matches in text.
func all(pattern, text string) (found []string) {
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	return found
}

func TestDocumentsLinkToFiles(t *testing.T) {
	t.Parallel()
	var documents []string
	for _, pattern := range []string{"*.md", "*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, found...)
	}
	if len(documents) < 6 {
		t.Errorf("only %v are checked", documents)
	}
	for _, document := range documents {
		for _, link := range all(`\]\(([^)\s]+)\)`, readText(t, document)) {
			path, _, _ := strings.Cut(link, "#")
			if strings.Contains(link, "://") || path == "" {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(document), path)); err != nil {
				t.Errorf("%s: %v", document, err)
			}
		}
	}
}

func TestReadmeNamesEveryMetric(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(readText(t, filepath.Join(root, "cmd/README.md")), "## Metrics")
	told := all("`([a-z_]+)`", section)
	descriptions := make(chan *prometheus.Desc, 100)
	metrics.NewCollector(nil).Describe(descriptions)
	close(descriptions)
	for d := range descriptions {
		name := all(`fqName: "xdpallow_([a-z_]+)"`, d.String())[0]
		if !slices.Contains(told, name) {
			t.Errorf("cmd/README.md does not name xdpallow_%s", name)
		}
	}
}

func TestReadmeNamesEveryProblem(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(readText(t, filepath.Join(root, "cmd/README.md")), "## Problems")
	section, _, _ = strings.Cut(section, "## Metrics")
	var made []string
	for _, dir := range []string{"loader", "cmd/xdpallow"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") && !strings.Contains(path, "/doctor/") {
				text := readText(t, path)
				made = append(made, all(`\bCode(?::| =)\s*"([a-z_]+)"`, text)...)
				made = append(made, all(`\b(?:problem|told|Disk)\("([a-z_]+)"`, text)...)
				made = append(made, all(`Unwritable = "([a-z_]+)"`, text)...)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var told []string
	for _, row := range all(`(?m)^\| (.*) \| [^|]* \|$`, section) {
		told = append(told, all("`([a-z_]+)`", row)...)
	}
	slices.Sort(made)
	for _, code := range slices.Compact(made) {
		if !slices.Contains(told, code) {
			t.Errorf("cmd/README.md does not name the problem %s", code)
		}
	}
	for _, code := range told {
		if !slices.Contains(made, code) {
			t.Errorf("cmd/README.md names the problem %s, which nobody reports", code)
		}
	}
}
