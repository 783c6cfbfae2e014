package badgerstore

import (
	"os"
	"testing"

	"mandate/datastore/storetest"
)

func openForSuite(dir string, o storetest.Options) (storetest.Store, error) {
	s, err := Open(dir, Options{Retention: o.Retention, Now: o.Now})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func TestMain(m *testing.M) { os.Exit(storetest.Main(m, openForSuite)) }

func TestConformance(t *testing.T) { storetest.Run(t, openForSuite) }
