package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierwall/tierwall/api/builtin"
	"github.com/tierwall/tierwall/api/v1alpha1"
)

// Kubectl runs kubectl as the cluster's administrator, with stdin as its input,
// and returns what it printed. The error has all that it said.
func Kubectl(ctx context.Context, c Cluster, o Options, stdin string, args ...string) (string, error) {
	o, done, err := o.complete(ctx)
	defer done()
	if err != nil {
		return "", err
	}
	k := c.Command(ctx, "cp", append([]string{o.Kubectl, "--kubeconfig", c.Kubeconfig()}, args...)...)
	k.Stdin = strings.NewReader(stdin)
	var out, said strings.Builder
	k.Stdout, k.Stderr = &out, &said
	if err := k.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w\n%s%s", strings.Join(args, " "), err, out.String(), said.String())
	}
	return out.String(), nil
}

// Wait returns when Tierwall is installed and every node's agent is in sync,
// whatever image it is of.
func Wait(ctx context.Context, c Cluster, o Options) error {
	o, done, err := o.complete(ctx)
	defer done()
	if err != nil {
		return err
	}
	return wait(ctx, c, o, "")
}

// wait polls; the API server is asked a few small questions a second.
func wait(ctx context.Context, c Cluster, o Options, image string) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	var last error
	for {
		err := ready(ctx, c, o, image)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("install: not ready after %s: %w", o.Timeout, errors.Join(last, ctx.Err()))
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// ready says what is missing; nil: nothing. image empty: any.
func ready(ctx context.Context, c Cluster, o Options, image string) error {
	var d appsv1.Deployment
	if err := get(ctx, c, o, &d, "deployment", "tierwall-manager"); err != nil {
		return err
	}
	s := d.Status
	if s.ObservedGeneration < d.Generation || s.UpdatedReplicas != *d.Spec.Replicas || s.Replicas != s.UpdatedReplicas || s.ReadyReplicas != s.Replicas {
		return fmt.Errorf("the manager has %d replicas of %d ready, %d of %d updated", s.ReadyReplicas, s.Replicas, s.UpdatedReplicas, *d.Spec.Replicas)
	}
	var t v1alpha1.Tierwall
	if err := get(ctx, c, o, &t, "tierwall", "default"); err != nil {
		return err
	}
	is := func(condition string, status metav1.ConditionStatus) bool {
		c := meta.FindStatusCondition(t.Status.Conditions, condition)
		return c != nil && c.Status == status && c.ObservedGeneration == t.Generation
	}
	if !is("Available", metav1.ConditionTrue) || !is("Progressing", metav1.ConditionFalse) {
		return fmt.Errorf("conditions of Tierwall/default: %v", t.Status.Conditions)
	}
	var ds appsv1.DaemonSet
	if err := get(ctx, c, o, &ds, "daemonset", "tierwall-agent"); err != nil {
		return err
	}
	if now := ds.Spec.Template.Spec.Containers[0].Image; image != "" && now != image {
		return fmt.Errorf("the agents' image is %s, want %s", now, image)
	}
	n, r := int32(len(c.Nodes())), ds.Status
	if r.ObservedGeneration < ds.Generation || r.DesiredNumberScheduled != n || r.UpdatedNumberScheduled != n || r.NumberReady != n {
		return fmt.Errorf("of %d agents %d are up to date and %d ready", n, r.UpdatedNumberScheduled, r.NumberReady)
	}
	return reports(ctx, c, o)
}

// reports says which nodes' agents have not reported that they are in sync.
func reports(ctx context.Context, c Cluster, o Options) error {
	var l v1alpha1.NodeReportList
	if err := get(ctx, c, o, &l, "nodereports"); err != nil {
		return err
	}
	for _, node := range c.Nodes() {
		there := slices.ContainsFunc(l.Items, func(r v1alpha1.NodeReport) bool { return r.Name == node && r.Report.InSync })
		if !there {
			return fmt.Errorf("the agent of %s has not reported to be in sync", node)
		}
	}
	return nil
}

func get(ctx context.Context, c Cluster, o Options, into any, args ...string) error {
	out, err := Kubectl(ctx, c, o, "", append([]string{"--namespace", Namespace, "get", "-o", "json"}, args...)...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("kubectl get %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// Remove uninstalls as docs/upgrade.md says: the agents clean their nodes first,
// then policies and tiers go, then the rest.
func Remove(ctx context.Context, c Cluster, o Options) error {
	o, done, err := o.complete(ctx)
	defer done()
	if err != nil {
		return err
	}
	limit := fmt.Sprintf("--timeout=%s", o.Timeout)
	for _, args := range [][]string{
		{"delete", "tierwall", "default", limit},
		{"delete", "globalnetworkpolicies.tierwall.io", "--all", limit},
		{"delete", "networkpolicies.tierwall.io", "--all", "--all-namespaces", limit},
	} {
		if _, err := Kubectl(ctx, c, o, "", args...); err != nil {
			return err
		}
	}
	names, err := Kubectl(ctx, c, o, "", "get", "tiers.tierwall.io", "-o", "name")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(names) {
		if builtin.IsTier(strings.TrimPrefix(name, "tier.tierwall.io/")) {
			continue
		}
		if _, err := Kubectl(ctx, c, o, "", "delete", name, limit); err != nil {
			return err
		}
	}
	_, err = Kubectl(ctx, c, o, "", "delete", "-k", filepath.Join(o.Module, "config", "default"), limit)
	return err
}
