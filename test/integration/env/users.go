package env

import (
	"fmt"
	"slices"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Admin returns a configuration of a member of system:masters, whom RBAC lets do all.
func (e *Env) Admin() *rest.Config { return rest.CopyConfig(e.admin) }

// As returns a configuration for the user of that name and groups, by
// impersonation: authorization and admission see that user. The server adds the
// group system:authenticated, and their groups to service accounts
// (system:serviceaccount:NAMESPACE:NAME).
func (e *Env) As(user string, groups ...string) *rest.Config {
	c := e.Admin()
	c.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: slices.Clone(groups)}
	return c
}

// Kubeconfig returns a kubeconfig with a client certificate of the user: what a
// program needs that takes no rest.Config.
func (e *Env) Kubeconfig(user string, groups ...string) ([]byte, error) {
	u, err := e.inner.AddUser(envtest.User{Name: user, Groups: groups}, e.Admin())
	if err != nil {
		return nil, fmt.Errorf("adding user %s: %w", user, err)
	}
	data, err := u.KubeConfig()
	if err != nil {
		return nil, fmt.Errorf("writing the kubeconfig of user %s: %w", user, err)
	}
	return data, nil
}
