// Package parity holds skep to docker stack deploy: its tests give stack files to
// docker's own loader and converter and to skep's, and compare what the swarm
// would be told. It is a module of its own, so that skep does not require the
// docker CLI, and it holds no code beside its tests.
package parity
