package folder

import (
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/test/goroutines"
)

func TestFolder(t *testing.T) {
	goroutines.MustEnd(t)
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(20 * time.Second)
	RunSpecs(t, "the folder source")
}

// start of every fake clock.
var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
