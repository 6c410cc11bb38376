package manifests

import (
	"testing"

	"github.com/tierwall/tierwall/test/goroutines"
)

func TestMain(m *testing.M) { goroutines.Main(m) }
