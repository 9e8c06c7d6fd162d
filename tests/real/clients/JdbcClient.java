import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.zip.CRC32;

/**
 * Does one thing with trino-jdbc and prints what it saw, one fact a line.
 *
 * <p>Usage: JdbcClient HOST:PORT SOURCE ACT SQL [PARAMETER …]
 *
 * <p>CLIENT_AUTHORITY names a PEM file and means TLS; CLIENT_PASSWORD and CLIENT_ENCODING as said.
 */
public class JdbcClient {
    public static void main(String[] arguments) throws Exception {
        switch (arguments[2]) {
            case "many" -> many(arguments, Integer.parseInt(arguments[4]));
            case "pace" ->
                    pace(arguments, Long.parseLong(arguments[4]), Long.parseLong(arguments[5]));
            case "each" -> each(arguments[1]);
            default -> {
                try (Connection connection = connect(arguments[0], arguments[1])) {
                    act(connection, arguments);
                }
            }
        }
    }

    private static Connection connect(String address, String source) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", "real-test");
        properties.setProperty("source", source);
        Map<String, String> told = System.getenv();
        if (told.containsKey("CLIENT_AUTHORITY")) {
            properties.setProperty("SSL", "true");
            properties.setProperty("SSLTrustStorePath", told.get("CLIENT_AUTHORITY"));
        }
        if (told.containsKey("CLIENT_PASSWORD")) {
            properties.setProperty("password", told.get("CLIENT_PASSWORD"));
        }
        if (told.containsKey("CLIENT_ENCODING")) {
            properties.setProperty("encoding", told.get("CLIENT_ENCODING"));
        }
        return DriverManager.getConnection("jdbc:trino://" + address, properties);
    }

    private static void act(Connection connection, String[] arguments) throws Exception {
        String sql = arguments[3];
        switch (arguments[2]) {
            case "rows" -> {
                try (Statement statement = connection.createStatement()) {
                    rows(statement, sql);
                }
            }
            case "checksum" -> checksum(connection, sql);
            case "prepared" -> prepared(connection, sql, Long.parseLong(arguments[4]));
            case "cancel" -> cancel(connection, sql);
            default -> throw new IllegalArgumentException("no act " + arguments[2]);
        }
    }

    /** Runs each statement of a list separated by ";" and prints the rows of the last, or its error. */
    private static void rows(Statement statement, String list) throws SQLException {
        try {
            for (String sql : list.split(";")) {
                if (statement.execute(sql)) {
                    print(statement.getResultSet());
                }
            }
        } catch (SQLException error) {
            System.out.println("error " + error.getErrorCode() + " " + error.getMessage());
        }
    }

    private static void prepared(Connection connection, String sql, long parameter)
            throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            statement.setLong(1, parameter);
            print(statement.executeQuery());
        }
    }

    private static void print(ResultSet rows) throws SQLException {
        while (rows.next()) {
            System.out.println(row(rows));
        }
    }

    private static String row(ResultSet rows) throws SQLException {
        int columns = rows.getMetaData().getColumnCount();
        StringBuilder text = new StringBuilder();
        for (int column = 1; column <= columns; column++) {
            text.append(column == 1 ? "" : "\t").append(rows.getString(column));
        }
        return text.toString();
    }

    /** Fetches all rows: their number, and the sum of the CRC-32 of each (any order gives the same). */
    private static void checksum(Connection connection, String sql) throws SQLException {
        long count = 0;
        long sum = 0;
        CRC32 crc = new CRC32();
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery(sql)) {
            while (rows.next()) {
                crc.reset();
                crc.update(row(rows).getBytes(StandardCharsets.UTF_8));
                sum += crc.getValue();
                count++;
            }
        }
        System.out.println(count + "\t" + sum);
    }

    /** Cancels after the first row, so the query was surely running. */
    private static void cancel(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            ResultSet rows = statement.executeQuery(sql);
            rows.next();
            System.out.println("running");
            statement.cancel();
            try {
                while (rows.next()) {}
                System.out.println("failed not cancelled");
            } catch (SQLException error) {
                System.out.println("cancelled");
            }
        }
    }

    /** Runs a query many times at once. */
    private static void many(String[] arguments, int count) {
        try (ExecutorService threads = Executors.newCachedThreadPool()) {
            for (int number = 0; number < count; number++) {
                threads.submit(() -> tell(arguments));
            }
        }
    }

    /** Starts a query so many times a second, for so many seconds; a slow one delays no other. */
    private static void pace(String[] arguments, long rate, long seconds) throws Exception {
        long begin = System.nanoTime();
        try (ExecutorService threads = Executors.newCachedThreadPool()) {
            for (long number = 0; number < rate * seconds; number++) {
                long due = begin + number * 1_000_000_000 / rate;
                Thread.sleep(Math.max(0, (due - System.nanoTime()) / 1_000_000));
                threads.submit(() -> tell(arguments));
            }
        }
    }

    private static void tell(String[] arguments) {
        System.out.println(outcome(arguments[0], arguments[1], arguments[3]));
    }

    /** Runs one query with a connection of its own, and tells how it ended. */
    private static String outcome(String address, String source, String sql) {
        try (Connection connection = connect(address, source);
                Statement statement = connection.createStatement()) {
            int count = 0;
            // One without a result, such as RESET SESSION, has no rows.
            if (statement.execute(sql)) {
                ResultSet rows = statement.getResultSet();
                while (rows.next()) {
                    count++;
                }
            }
            return "rows " + count;
        } catch (SQLException | RuntimeException error) {
            return failed(error);
        }
    }

    private static String failed(Exception error) {
        return "failed " + String.valueOf(error).replaceAll("\\s+", " ");
    }

    /** Does one act after another, each told in a line "ACT HOST:PORT SQL". */
    private static void each(String source) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ", 3);
            if (words[0].equals("cancel")) {
                try (Connection connection = connect(words[1], source)) {
                    cancel(connection, words[2]);
                } catch (SQLException | RuntimeException error) {
                    System.out.println(failed(error));
                }
            } else {
                System.out.println(outcome(words[1], source, words[2]));
            }
        }
    }
}
