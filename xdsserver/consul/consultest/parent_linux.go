package consultest

import "syscall"

// dieWithParent has an agent end when the test binary does, however that ends.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
