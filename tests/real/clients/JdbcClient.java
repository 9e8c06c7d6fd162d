import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;
import java.util.zip.CRC32;

/**
 * Does one thing with trino-jdbc and prints what it saw, one fact a line.
 *
 * <p>Usage: JdbcClient HOST:PORT SOURCE ACT SQL [PARAMETER]
 */
public class JdbcClient {
    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.setProperty("user", "real-test");
        properties.setProperty("source", arguments[1]);
        try (Connection connection =
                DriverManager.getConnection("jdbc:trino://" + arguments[0], properties)) {
            act(connection, arguments);
        }
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
                System.out.println("not cancelled");
            } catch (SQLException error) {
                System.out.println("cancelled");
            }
        }
    }
}
