package status

import (
	"strconv"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// columns are what kubectl shows of a policy that no path into its spec can say: the
// directions that it governs, as one word, and an order that is unset.
func columns(o model.Object) (types, order string) {
	p, ok := o.(*model.Policy)
	if !ok {
		return "", ""
	}
	var directions []string
	if p.Ingress {
		directions = append(directions, "Ingress")
	}
	if p.Egress {
		directions = append(directions, "Egress")
	}
	order = "last"
	if p.Order != model.NoOrder {
		order = strconv.FormatFloat(p.Order, 'f', -1, 64)
	}
	return strings.Join(directions, ","), order
}
