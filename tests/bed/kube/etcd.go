package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

// runEtcd runs one embedded etcd member from the configuration file named by the only argument, until it is told to stop.
func runEtcd() int {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: etcd CONFIGURATION.yml")
		return 2
	}
	configuration, err := embed.ConfigFromFile(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcd: reading the configuration:", err)
		return 1
	}
	member, err := embed.StartEtcd(configuration)
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcd: starting:", err)
		return 1
	}
	defer member.Close()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	select {
	case <-stop:
		return 0
	case <-member.Server.StopNotify():
		return 1
	case err := <-member.Err():
		fmt.Fprintln(os.Stderr, "etcd:", err)
		return 1
	}
}
