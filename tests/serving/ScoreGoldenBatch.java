import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.tensorflow.Result;
import org.tensorflow.SavedModelBundle;
import org.tensorflow.Tensor;
import org.tensorflow.ndarray.NdArray;
import org.tensorflow.ndarray.NdArrays;
import org.tensorflow.ndarray.Shape;
import org.tensorflow.types.TFloat32;
import org.tensorflow.types.TFloat64;
import org.tensorflow.types.TString;

/**
 * Scores golden batches with TensorFlow's Java API, as a serving client in another language would.
 *
 * <p>Arguments: directories, each with a SavedModel and its golden.json. For each, a line of the
 * scores as a JSON array is printed.
 */
public final class ScoreGoldenBatch {

  public static void main(String[] directories) throws IOException {
    for (String directory : directories) {
      System.out.println(score(Path.of(directory)));
    }
  }

  private static JsonArray score(Path directory) throws IOException {
    JsonObject golden =
        JsonParser.parseString(
                Files.readString(directory.resolve("golden.json"), StandardCharsets.UTF_8))
            .getAsJsonObject();
    JsonObject kinds = golden.getAsJsonObject("kinds");
    Map<String, Tensor> inputs = new HashMap<>();
    for (Map.Entry<String, JsonElement> input : golden.getAsJsonObject("inputs").entrySet()) {
      JsonArray rows = input.getValue().getAsJsonArray();
      boolean numeric = kinds.get(input.getKey()).getAsString().equals("double");
      inputs.put(input.getKey(), numeric ? numbers(rows) : texts(rows));
    }
    JsonArray scores = new JsonArray();
    try (SavedModelBundle model = SavedModelBundle.load(directory.toString(), "serve");
        Result result = model.function("serving_default").call(inputs)) {
      TFloat32 score = (TFloat32) result.get("score").orElseThrow();
      score.scalars().forEach(value -> scores.add(value.getFloat()));
    } finally {
      inputs.values().forEach(Tensor::close);
    }
    return scores;
  }

  private static Tensor numbers(JsonArray rows) {
    TFloat64 tensor = TFloat64.tensorOf(Shape.of(rows.size()));
    for (int row = 0; row < rows.size(); row++) {
      JsonElement value = rows.get(row);
      tensor.setDouble(value.isJsonNull() ? Double.NaN : value.getAsDouble(), row);
    }
    return tensor;
  }

  private static Tensor texts(JsonArray rows) {
    boolean sequences = rows.get(0).isJsonArray();
    Shape shape =
        sequences
            ? Shape.of(rows.size(), rows.get(0).getAsJsonArray().size())
            : Shape.of(rows.size());
    List<String> values = new ArrayList<>();
    for (JsonElement row : rows) {
      if (sequences) {
        row.getAsJsonArray().forEach(value -> values.add(value.getAsString()));
      } else {
        values.add(row.getAsString());
      }
    }
    NdArray<String> array = NdArrays.ofObjects(String.class, shape);
    long width = sequences ? shape.get(1) : 1;
    for (int i = 0; i < values.size(); i++) {
      if (sequences) {
        array.setObject(values.get(i), i / width, i % width);
      } else {
        array.setObject(values.get(i), i);
      }
    }
    return TString.tensorOf(StandardCharsets.UTF_8, array);
  }
}
