import com.clickhouse.client.api.ServerException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;

/** Does what a JDBC user does, and prints one line for each thing; `done` comes last. */
public final class Client {
    public static void main(String[] args) throws Exception {
        String url = System.getenv("CLICKHOUSE_URL");
        for (String compress : new String[] {"true", "false"}) {
            try (Connection connection = open(url, "WRITER", compress)) {
                write(connection);
                read(connection);
                fail(connection);
            }
        }
        try (Connection connection = open(url, "READER", "true");
                Statement statement = connection.createStatement()) {
            readOnly(statement);
        }
        System.out.println("done");
    }

    private static Connection open(String url, String who, String compress) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv(who + "_USER"));
        properties.setProperty("password", System.getenv(who + "_PASSWORD"));
        properties.setProperty("compress", compress);
        return DriverManager.getConnection(url, properties);
    }

    private static void write(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("DROP TABLE IF EXISTS jdbc_rows");
            statement.execute("CREATE TABLE jdbc_rows (id UInt32, name String, price Decimal(10, 2))"
                    + " ENGINE = MergeTree ORDER BY id");
        }
        String sql = "INSERT INTO jdbc_rows (id, name, price) VALUES (?, ?, ?)";
        try (PreparedStatement insert = connection.prepareStatement(sql)) {
            for (int id = 0; id < 1000; id++) {
                insert.setInt(1, id);
                insert.setString(2, "it's №" + id);
                insert.setBigDecimal(3, new java.math.BigDecimal(id).movePointLeft(2));
                insert.addBatch();
            }
            insert.executeBatch();
        }
        System.out.println("inserted");
    }

    private static void read(Connection connection) throws SQLException {
        String sql = "SELECT name, price FROM jdbc_rows WHERE id = ?";
        try (PreparedStatement select = connection.prepareStatement(sql)) {
            select.setInt(1, 42);
            ResultSet row = select.executeQuery();
            row.next();
            System.out.println("bound " + row.getString(1) + " " + row.getBigDecimal(2));
        }
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT number FROM numbers(300000)")) {
            long sum = 0;
            while (rows.next()) {
                sum += rows.getLong(1);
            }
            System.out.println("sum " + sum);
        }
        try (ResultSet tables = connection.getMetaData().getTables(null, "kairos", "jdbc%", null)) {
            tables.next();
            System.out.println("table " + tables.getString("TABLE_NAME"));
        }
    }

    private static void fail(Connection connection) throws SQLException {
        expect(connection, "SELECT * FROM no_such_table");
        expect(connection, "SELEC 1");
        expect(connection, "SELECT throwIf(number = 3000000) FROM numbers(5000000)");
        try (Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery("SELECT 1")) {
            row.next();
            System.out.println("afterwards " + row.getInt(1));
        }
    }

    private static void readOnly(Statement statement) throws SQLException {
        ResultSet row = statement.executeQuery("SELECT count() FROM jdbc_rows");
        row.next();
        System.out.println("reader sees " + row.getLong(1));
        expect(statement.getConnection(), "INSERT INTO jdbc_rows SELECT 1, 'x', 1");
    }

    /** The driver keeps ClickHouse's code in its cause; an answer that breaks off has none. */
    private static int codeOf(SQLException fault) {
        return fault.getCause() instanceof ServerException server ? server.getCode() : -1;
    }

    private static void expect(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            boolean rows = statement.execute(sql);
            while (rows && statement.getResultSet().next()) {
                continue;
            }
            System.out.println("no error for " + sql);
        } catch (SQLException fault) {
            System.out.println("error " + codeOf(fault) + " for " + sql);
        }
    }
}
