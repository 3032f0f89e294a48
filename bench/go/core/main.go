// bench_core's loops in Go, for bench/compare to measure heddle against: the same names, the same work per
// iteration, one line each: its name and the nanoseconds of an iteration, as bench_core counts them.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"regexp"
	"runtime"
	"sync"
	"testing"
	"time"
)

func spawnJoin(b *testing.B) {
	var wg sync.WaitGroup
	for i := 0; i < b.N; i++ {
		wg.Add(1)
		go wg.Done()
		wg.Wait()
	}
}

func skynet(up chan<- int64, first, leaves int64) {
	if leaves == 1 {
		up <- first
		return
	}
	sums := make(chan int64, 10)
	each := leaves / 10
	for i := int64(0); i < 10; i++ {
		go skynet(sums, first+i*each, each)
	}
	sum := int64(0)
	for i := 0; i < 10; i++ {
		sum += <-sums
	}
	up <- sum
}

func skynet100k(b *testing.B) {
	for i := 0; i < b.N; i++ {
		result := make(chan int64, 1)
		skynet(result, 0, 100_000)
		if <-result != 100_000*99_999/2 {
			log.Fatal("skynet_100k: the sum is wrong")
		}
	}
}

// Two yields make a pair, ours and the other's that brings us back; one of them is an iteration.
func yield(b *testing.B) {
	over, ended := false, make(chan bool)
	go func() {
		for !over {
			runtime.Gosched()
		}
		close(ended)
	}()
	for i := 0; i < b.N; i += 2 {
		runtime.Gosched()
	}
	over = true
	<-ended
}

func chanPingpong(b *testing.B) {
	ping, pong := make(chan int), make(chan int)
	go func() {
		for v := range ping {
			pong <- v
		}
	}()
	for i := 0; i < b.N; i++ {
		ping <- 1
		<-pong
	}
	close(ping)
}

func chanBuffered(b *testing.B) {
	ch, ended := make(chan int, 100), make(chan bool)
	go func() {
		for range ch {
		}
		close(ended)
	}()
	for i := 0; i < b.N; i++ {
		ch <- 1
	}
	close(ch)
	<-ended
}

func chanUncontended(b *testing.B) {
	ch := make(chan int, 100)
	for i := 0; i < b.N; i += 100 {
		for k := 0; k < 100; k++ {
			ch <- k
		}
		for k := 0; k < 100; k++ {
			<-ch
		}
	}
}

func selectTwo(b *testing.B) {
	x, y := make(chan int, 1), make(chan int, 1)
	x <- 0
	for i := 0; i < b.N; i++ {
		select {
		case v := <-x:
			y <- v
		case v := <-y:
			x <- v
		}
	}
}

func selectEight(b *testing.B) {
	var c [8]chan int
	for i := range c {
		c[i] = make(chan int, 1)
	}
	c[0] <- 0
	for i := 0; i < b.N; i++ {
		select {
		case v := <-c[0]:
			c[1] <- v
		case v := <-c[1]:
			c[2] <- v
		case v := <-c[2]:
			c[3] <- v
		case v := <-c[3]:
			c[4] <- v
		case v := <-c[4]:
			c[5] <- v
		case v := <-c[5]:
			c[6] <- v
		case v := <-c[6]:
			c[7] <- v
		case v := <-c[7]:
			c[0] <- v
		}
	}
}

func mutexUncontended(b *testing.B) {
	var mutex sync.Mutex
	for i := 0; i < b.N; i++ {
		mutex.Lock()
		mutex.Unlock()
	}
}

func mutexContended(b *testing.B) {
	var mutex sync.Mutex
	locks, over := 0, false
	take := func() bool {
		mutex.Lock()
		locks++
		if locks%16 == 0 {
			runtime.Gosched() // the others find it held
		}
		ends := over
		mutex.Unlock()
		return !ends
	}
	var wg sync.WaitGroup
	for i := 0; i < 3; i++ {
		wg.Add(1)
		go func() {
			for take() {
				runtime.Gosched()
			}
			wg.Done()
		}()
	}
	for i := 0; i < b.N; i++ {
		take()
		runtime.Gosched()
	}
	mutex.Lock()
	over = true
	mutex.Unlock()
	wg.Wait()
}

func rwmutexRead(b *testing.B) {
	var mutex sync.RWMutex
	for i := 0; i < b.N; i++ {
		mutex.RLock()
		mutex.RUnlock()
	}
}

// A channel with a place for each unit, as Go's own code counts; golang.org/x/sync is no part of the toolchain.
func semaphore(b *testing.B) {
	units := make(chan struct{}, 2)
	for i := 0; i < b.N; i++ {
		units <- struct{}{}
		<-units
	}
}

func timerReset(b *testing.B) {
	timer := time.NewTimer(time.Hour)
	for i := 0; i < b.N; i++ {
		timer.Reset(time.Hour)
	}
	timer.Stop()
}

// Times spread over a quarter of an hour, so that a new one stands anywhere among the others.
func anHourOrSo(i int) time.Duration { return time.Hour + time.Duration(i%1000)*time.Second }

// AfterFunc's timers are in the heap at once; since Go 1.23 a channel's is only while somebody receives from it.
func timerAddStop1m(b *testing.B) {
	others := make([]*time.Timer, 1_000_000)
	for i := range others {
		others[i] = time.AfterFunc(anHourOrSo(i), func() {})
	}
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		time.AfterFunc(anHourOrSo(i), func() {}).Stop()
	}
	b.StopTimer()
	for _, timer := range others {
		timer.Stop()
	}
}

func afterFunc1m(b *testing.B) {
	for i := 0; i < b.N; i++ {
		ran, done := 0, make(chan bool)
		for k := 0; k < 1_000_000; k++ {
			time.AfterFunc(0, func() {
				if ran++; ran == 1_000_000 { // one P: no two of them run at once
					close(done)
				}
			})
		}
		<-done
	}
}

//go:noinline
func withADefer(n *int) {
	defer func() { *n += 2 }()
	*n++
}

func deferred(b *testing.B) {
	n := 0
	for i := 0; i < b.N; i++ {
		withADefer(&n)
	}
}

//go:noinline
func panicsAndRecovers(n int) (got int) {
	defer func() { got, _ = recover().(int) }()
	panic(n)
}

func panicRecover(b *testing.B) {
	for i := 0; i < b.N; i++ {
		panicsAndRecovers(42)
	}
}

func contextCancel(b *testing.B) {
	for i := 0; i < b.N; i++ {
		_, cancel := context.WithCancel(context.Background())
		cancel()
	}
}

func contextFanout1000(b *testing.B) {
	for i := 0; i < b.N; i++ {
		parent, cancel := context.WithCancel(context.Background())
		for k := 0; k < 1000; k++ {
			_, drop := context.WithCancel(parent)
			_ = drop
		}
		cancel()
	}
}

func park1m(b *testing.B) {
	const goroutines = 1_000_000
	for i := 0; i < b.N; i++ {
		gate := make(chan int)
		var wg sync.WaitGroup
		ran := 0 // one P: no two of them run at once
		for k := 0; k < goroutines; k++ {
			wg.Add(1)
			go func() {
				<-gate
				ran++
				wg.Done()
			}()
			if k%100 == 99 {
				runtime.Gosched() // lets them run and park
			}
		}
		close(gate)
		wg.Wait()
		if ran != goroutines {
			log.Fatal("park_1m: not every goroutine ran exactly once")
		}
	}
}

func main() {
	testing.Init()
	only := flag.String("only", "", "regular expression of the names to run")
	flag.Parse()
	wanted, err := regexp.Compile(*only)
	if err != nil {
		log.Fatal(err)
	}
	for _, loop := range []struct {
		name string
		run  func(*testing.B)
		once bool // one iteration says enough, and takes long
	}{
		{"spawn_join", spawnJoin, false},
		{"yield", yield, false},
		{"chan_pingpong", chanPingpong, false},
		{"chan_buffered", chanBuffered, false},
		{"chan_uncontended", chanUncontended, false},
		{"select_two", selectTwo, false},
		{"select_eight", selectEight, false},
		{"mutex_uncontended", mutexUncontended, false},
		{"mutex_contended", mutexContended, false},
		{"rwmutex_read", rwmutexRead, false},
		{"semaphore", semaphore, false},
		{"timer_reset", timerReset, false},
		{"timer_add_stop_1m", timerAddStop1m, false},
		{"after_func_1m", afterFunc1m, true},
		{"defer", deferred, false},
		{"panic_recover", panicRecover, false},
		{"context_cancel", contextCancel, false},
		{"context_fanout_1000", contextFanout1000, false},
		{"skynet_100k", skynet100k, false},
		{"park_1m", park1m, true},
	} {
		if !wanted.MatchString(loop.name) {
			continue
		}
		if loop.once {
			b := &testing.B{N: 1}
			start := time.Now()
			loop.run(b)
			fmt.Printf("%s %d\n", loop.name, time.Since(start).Nanoseconds())
			continue
		}
		result := testing.Benchmark(loop.run)
		if result.N == 0 {
			os.Exit(1)
		}
		fmt.Printf("%s %.2f\n", loop.name, float64(result.T.Nanoseconds())/float64(result.N))
	}
}
