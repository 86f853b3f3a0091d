package kind

import "testing"

func TestUp(t *testing.T) {
	out, err := theCluster.Run(t.Context(), "", "kubectl", "get", "pods,nodes", "-A", "-o", "wide")
	t.Log(out, err)
}
