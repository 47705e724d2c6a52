// Command controlplane is etcd and the Kubernetes control plane in one binary, for tests on machines without containers.
// Its first argument names the component; the rest are that component's own flags. "service-account-key FILE" writes the key
// pair that signs service account tokens, so that no openssl is needed on the machine.
package main

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: controlplane etcd|kube-apiserver|kube-controller-manager|kube-scheduler [flags]")
		fmt.Fprintln(os.Stderr, "       controlplane service-account-key FILE")
		os.Exit(2)
	}
	component := os.Args[1]
	os.Args = os.Args[1:]
	switch component {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllermanager.NewControllerManagerCommand()))
	case "kube-scheduler":
		os.Exit(cli.Run(scheduler.NewSchedulerCommand()))
	case "service-account-key":
		if err := writeServiceAccountKey(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "controlplane:", err)
			os.Exit(1)
		}
	default:
		fmt.Fprintf(os.Stderr, "controlplane: no component named %q\n", component)
		os.Exit(2)
	}
}

// writeServiceAccountKey writes a fresh elliptic private key; the API server and the controller manager derive the public half from it.
func writeServiceAccountKey(arguments []string) error {
	if len(arguments) != 1 {
		return fmt.Errorf("service-account-key takes one file name, got %d", len(arguments))
	}
	key, err := keyutil.MakeEllipticPrivateKeyPEM()
	if err != nil {
		return err
	}
	return keyutil.WriteKey(arguments[0], key)
}
