// Package kubernetes tests the manifests in this directory. It is a separate module, so
// that the library does not depend on the types of Kubernetes.
package kubernetes

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// The manifests have only fields that Kubernetes knows. Selectors match pods, mounts are
// volumes, and a worker has time to stop.
func TestManifests(t *testing.T) {
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatalf("found %d manifests, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			claims := map[string]bool{}
			for _, part := range bytes.Split(text, []byte("\n---\n")) {
				var kind struct{ Kind string }
				if err := yaml.Unmarshal(part, &kind); err != nil {
					t.Fatal(err)
				}
				switch kind.Kind {
				case "PersistentVolumeClaim":
					claims[parse[core.PersistentVolumeClaim](t, part).Name] = true
				case "Deployment":
					checkDeployment(t, parse[apps.Deployment](t, part), claims)
				default:
					t.Errorf("unknown kind %s", kind.Kind)
				}
			}
		})
	}
}

func parse[T any](t *testing.T, text []byte) *T {
	t.Helper()
	var object T
	if err := yaml.UnmarshalStrict(text, &object); err != nil {
		t.Fatal(err)
	}
	return &object
}

func checkDeployment(t *testing.T, d *apps.Deployment, claims map[string]bool) {
	pod := d.Spec.Template
	for name, value := range d.Spec.Selector.MatchLabels {
		if pod.Labels[name] != value {
			t.Errorf("%s selects %s=%s, and its pods have %s", d.Name, name, value, pod.Labels[name])
		}
	}
	volumes := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = true
		if c := v.PersistentVolumeClaim; c == nil || !claims[c.ClaimName] {
			t.Errorf("the volume %s of %s has no claim", v.Name, d.Name)
		}
	}
	if len(volumes) > 0 && (*d.Spec.Replicas != 1 || d.Spec.Strategy.Type != apps.RecreateDeploymentStrategyType) {
		t.Errorf("%s may have two pods on one file", d.Name)
	}
	works := false
	for _, c := range pod.Spec.Containers {
		ports := map[string]bool{}
		for _, p := range c.Ports {
			ports[p.Name] = true
		}
		for _, p := range []*core.Probe{c.LivenessProbe, c.ReadinessProbe} {
			if p != nil && !ports[p.HTTPGet.Port.StrVal] {
				t.Errorf("%s is probed at the port %s, which it does not have", c.Name, p.HTTPGet.Port.String())
			}
		}
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] || m.SubPath != "" {
				t.Errorf("%s mounts %s, which is not a whole volume", c.Name, m.Name)
			}
		}
		works = works || len(c.Args) > 0 && c.Args[0] == "work"
	}
	// The default grace, and the time that worker.Run may take after it.
	if grace := pod.Spec.TerminationGracePeriodSeconds; works && (grace == nil || *grace < 31) {
		t.Errorf("%s is killed before its worker can stop", d.Name)
	}
}
