// Runs the same work over any connection and prints what came of it, line by line.
import java.math.BigDecimal;
import java.sql.*;
import java.util.Properties;

public class WithJdbc {
    public static void main(String[] args) throws SQLException {
        Properties how = new Properties();
        how.setProperty("user", args[2]);
        how.setProperty("password", args[3]);
        how.setProperty("sslmode", "disable");
        how.setProperty("prepareThreshold", "2");
        String url = "jdbc:postgresql://" + args[0] + ":" + args[1] + "/shop";
        try (Connection conn = DriverManager.getConnection(url, how)) {
            System.out.println(conn.getMetaData().getDatabaseProductVersion());
            show("columns", conn.getMetaData().getColumns(null, "public", "orders", null), 4);
            // From the third run on it is prepared by name, and its values are binary.
            try (PreparedStatement some = conn.prepareStatement("select id, customer, total from orders where id <= ? order by id")) {
                for (int n = 1; n <= 5; n++) {
                    some.setInt(1, n);
                    show("rows " + n, some.executeQuery(), 2);
                }
            }
            conn.setAutoCommit(false);
            // In pieces, out of a portal that stays open.
            try (Statement many = conn.createStatement()) {
                many.setFetchSize(7);
                int seen = 0;
                try (ResultSet rows = many.executeQuery("select id from orders order by id")) {
                    while (rows.next()) seen += rows.getInt(1);
                }
                System.out.println("fetched " + seen);
            }
            try (PreparedStatement add = conn.prepareStatement("insert into orders values (?, ?, ?)")) {
                for (int n = 0; n < 40; n++) {
                    add.setInt(1, 1000 + n);
                    add.setString(2, "many \u00fc");
                    add.setBigDecimal(3, new BigDecimal(n + ".50"));
                    add.addBatch();
                }
                System.out.println("batch " + java.util.Arrays.toString(add.executeBatch()));
            }
            Savepoint before = conn.setSavepoint();
            try (Statement bad = conn.createStatement()) {
                bad.execute("insert into orders values (1, 'again', 1)");
            } catch (SQLException error) {
                System.out.println(error.getSQLState() + " " + error.getMessage());
                conn.rollback(before);
            }
            try (Statement count = conn.createStatement()) {
                show("seen", count.executeQuery("select count(*), sum(total) from orders where id >= 1000"), 1);
            }
            conn.rollback();
            conn.setAutoCommit(true);
            try (PreparedStatement types = conn.prepareStatement("select ?::numeric, ?::timestamptz, ?::bytea, ?::text, ?::int[]")) {
                types.setBigDecimal(1, new BigDecimal("1.50"));
                types.setTimestamp(2, new Timestamp(1_795_226_400_000L));
                types.setBytes(3, new byte[] {0, -1});
                types.setNull(4, Types.VARCHAR);
                types.setArray(5, conn.createArrayOf("integer", new Object[] {1, null, 3}));
                show("types", types.executeQuery(), 2);
            }
            try (Statement several = conn.createStatement()) {
                boolean rows = several.execute("select 1 as a; select 2 as b");
                while (rows) {
                    show("several", several.getResultSet(), 1);
                    rows = several.getMoreResults();
                }
            }
            try (Statement wrong = conn.createStatement()) {
                wrong.executeQuery("select 1 / 0");
            } catch (SQLException error) {
                System.out.println(error.getSQLState() + " " + error.getMessage());
            }
        }
    }

    private static void show(String what, ResultSet rows, int atLeast) throws SQLException {
        int columns = rows.getMetaData().getColumnCount();
        if (columns < atLeast) throw new SQLException("only " + columns + " columns");
        while (rows.next()) {
            StringBuilder line = new StringBuilder(what);
            for (int column = 1; column <= columns; column++) {
                Object value = rows.getObject(column);
                line.append('|').append(value instanceof byte[] ? java.util.Arrays.toString((byte[]) value) : value);
            }
            System.out.println(line);
        }
    }
}
