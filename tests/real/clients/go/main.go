// Does one thing with trino-go-client and prints what it saw, one fact a line.
//
// Usage: client HOST:PORT SOURCE ACT SQL [PARAMETER …]
package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/crc32"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/trinodb/trino-go-client/trino"
)

func main() {
	if len(os.Args) < 5 {
		fail(errors.New("usage: client HOST:PORT SOURCE ACT SQL [PARAMETER …]"))
	}
	address, source, act, text, parameters := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5:]
	database := open(address, source)
	defer database.Close()
	switch act {
	case "rows":
		printRows(database, text)
	case "prepared":
		prepared(database, text, number(parameters, 0))
	case "checksum":
		checksum(database, text)
	case "cancel":
		fmt.Println(cancel(database, text))
	case "many":
		many(address, source, text, int(number(parameters, 0)))
	case "pace":
		pace(address, source, text, number(parameters, 0), number(parameters, 1))
	case "each":
		each(source)
	default:
		fail(errors.New("no act " + act))
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func number(parameters []string, place int) int64 {
	if place >= len(parameters) {
		fail(fmt.Errorf("parameter %d is missing", place+1))
	}
	value, err := strconv.ParseInt(parameters[place], 10, 64)
	if err != nil {
		fail(err)
	}
	return value
}

// A pool of connections, as programs have one; nothing is sent yet.
func open(address, source string) *sql.DB {
	database, err := sql.Open("trino", "http://real-test@"+address+"?source="+url.QueryEscape(source))
	if err != nil {
		fail(err)
	}
	return database
}

// What can run a statement: a pool, or one connection of it, which keeps its session.
type runner interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Runs a statement to its end and gives each row, as text, to `see`.
func run(on runner, query string, see func(string), arguments ...any) error {
	rows, err := on.QueryContext(context.Background(), query, arguments...)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	values := make([]any, len(columns))
	places := make([]any, len(columns))
	for place := range values {
		places[place] = &values[place]
	}
	for rows.Next() {
		if err := rows.Scan(places...); err != nil {
			return err
		}
		see(asText(values))
	}
	return rows.Err()
}

// A row as the other clients write it.
func asText(values []any) string {
	texts := make([]string, len(values))
	for place, value := range values {
		texts[place] = fmt.Sprint(value)
	}
	return strings.Join(texts, "\t")
}

// The rows of some statements separated by ";", run in one session, or the error.
func printRows(database *sql.DB, statements string) {
	session, err := database.Conn(context.Background())
	if err != nil {
		fail(err)
	}
	defer session.Close()
	for _, statement := range strings.Split(statements, ";") {
		if err := run(session, statement, func(row string) { fmt.Println(row) }); err != nil {
			var told *trino.ErrTrino
			if !errors.As(err, &told) {
				fail(err)
			}
			fmt.Printf("error %d %s\n", told.ErrorCode, told.Message)
			return
		}
	}
}

func prepared(database *sql.DB, query string, parameter int64) {
	if err := run(database, query, func(row string) { fmt.Println(row) }, parameter); err != nil {
		fail(err)
	}
}

// The number of rows, and the sum of the CRC-32 of each (any order gives the same).
func checksum(database *sql.DB, query string) {
	var count, sum uint64
	err := run(database, query, func(row string) {
		count++
		sum += uint64(crc32.ChecksumIEEE([]byte(row)))
	})
	if err != nil {
		fail(err)
	}
	fmt.Printf("%d\t%d\n", count, sum)
}

// Cancels after the first row, so the query was surely running, and tells how that went.
func cancel(database *sql.DB, query string) string {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	rows, err := database.QueryContext(ctx, query)
	if err != nil {
		return failed(err)
	}
	defer rows.Close()
	if !rows.Next() {
		return failed(fmt.Errorf("no row: %w", rows.Err()))
	}
	fmt.Println("running")
	stop()
	for rows.Next() {
	}
	if !errors.Is(rows.Err(), context.Canceled) {
		return failed(fmt.Errorf("not cancelled: %w", rows.Err()))
	}
	return "cancelled"
}

func failed(err error) string {
	return "failed " + strings.Join(strings.Fields(err.Error()), " ")
}

// Runs one query with a pool of its own, and tells how it ended.
func outcome(address, source, query string) string {
	database := open(address, source)
	defer database.Close()
	count := 0
	if err := run(database, query, func(string) { count++ }); err != nil {
		return failed(err)
	}
	return fmt.Sprint("rows ", count)
}

// Does one act after another, each told in a line "ACT HOST:PORT SQL".
func each(source string) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.SplitN(lines.Text(), " ", 3)
		if words[0] == "cancel" {
			database := open(words[1], source)
			fmt.Println(cancel(database, words[2]))
			database.Close()
		} else {
			fmt.Println(outcome(words[1], source, words[2]))
		}
	}
}

var printing sync.Mutex

// Prints how one query ended.
func tell(address, source, query string) {
	told := outcome(address, source, query)
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(told)
}

// Runs a query many times at once.
func many(address, source, query string, count int) {
	var all sync.WaitGroup
	for range count {
		all.Go(func() { tell(address, source, query) })
	}
	all.Wait()
}

// Starts a query so many times a second, for so many seconds; a slow one delays no other.
func pace(address, source, query string, rate, seconds int64) {
	var all sync.WaitGroup
	begin := time.Now()
	for number := range rate * seconds {
		time.Sleep(time.Until(begin.Add(time.Duration(number) * time.Second / time.Duration(rate))))
		all.Go(func() { tell(address, source, query) })
	}
	all.Wait()
}
