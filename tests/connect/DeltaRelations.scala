// The server's half of Delta Connect, as far as the engine needs it: a table by its name, its history, MERGE.
// Delta's own is in a jar (io.delta:delta-connect-server) that not every mirror of Maven Central has. What a client
// sends is Delta's own message, read here by the descriptors that lie beside the compiled class.
package org.apache.spark.sql.connect.lakehouse

import java.util.Optional

import scala.jdk.CollectionConverters._

import io.delta.tables.{DeltaMergeBuilder, DeltaTable}
import org.sparkproject.connect.protobuf.{Any => AnyMessage, DynamicMessage}
import org.sparkproject.connect.protobuf.DescriptorProtos.FileDescriptorSet
import org.sparkproject.connect.protobuf.Descriptors.FileDescriptor

import org.apache.spark.connect.proto
import org.apache.spark.sql.Column
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan
import org.apache.spark.sql.classic.{Dataset, ExpressionUtils}
import org.apache.spark.sql.connect.planner.SparkConnectPlanner
import org.apache.spark.sql.connect.plugin.RelationPlugin

class DeltaRelations extends RelationPlugin {
  import DeltaRelations._

  override def transform(raw: Array[Byte], planner: SparkConnectPlanner): Optional[LogicalPlan] =
    asked(AnyMessage.parseFrom(raw)) match {
      case None => Optional.empty()
      case Some(("scan", what)) => Optional.of(table(what, planner).toDF.queryExecution.analyzed)
      case Some(("describe_history", what)) =>
        Optional.of(table(what, planner).history().queryExecution.analyzed)
      case Some(("merge_into_table", what)) => Optional.of(merge(what, planner))
      case Some((other, _)) => throw new UnsupportedOperationException(s"Delta Connect's $other")
    }

  /** What a message asks for, by the name of its one field; None if it is none of Delta's. */
  private def asked(message: AnyMessage): Option[(String, DynamicMessage)] =
    if (!message.getTypeUrl.endsWith("/" + relation.getFullName)) None
    else {
      val (field, value) = DynamicMessage.parseFrom(relation, message.getValue).getAllFields.asScala.head
      Some((field.getName, value.asInstanceOf[DynamicMessage]))
    }

  private def table(what: DynamicMessage, planner: SparkConnectPlanner): DeltaTable =
    DeltaTable.forName(planner.session, what("table").text("table_or_view_name"))

  private def merge(what: DynamicMessage, planner: SparkConnectPlanner): LogicalPlan = {
    def column(message: DynamicMessage): Column =
      ExpressionUtils.column(planner.transformExpression(proto.Expression.parseFrom(message.toByteString)))
    def condition(action: DynamicMessage): Option[Column] = action.get("condition").map(column)
    def values(action: DynamicMessage): Map[String, Column] = action.all("assignments").map { each =>
      val name = proto.Expression.parseFrom(each("field").toByteString).getUnresolvedAttribute
      name.getUnparsedIdentifier -> column(each("value"))
    }.toMap

    val alias = proto.Relation.parseFrom(what("target").toByteString).getSubqueryAlias
    val target = asked(alias.getInput.getExtension).map(each => table(each._2, planner).as(alias.getAlias)).get
    val source = planner.transformRelation(proto.Relation.parseFrom(what("source").toByteString))
    var made: DeltaMergeBuilder = target.merge(Dataset.ofRows(planner.session, source), column(what("condition")))
    for (action <- what.all("matched_actions")) {
      val when = condition(action).fold(made.whenMatched())(made.whenMatched)
      made = if (action.get("update_star_action").isDefined) when.updateAll()
      else action.get("update_action").fold {
        action("delete_action")
        when.delete()
      }(update => when.update(values(update)))
    }
    for (action <- what.all("not_matched_actions")) {
      val when = condition(action).fold(made.whenNotMatched())(made.whenNotMatched)
      made = if (action.get("insert_star_action").isDefined) when.insertAll()
      else when.insert(values(action("insert_action")))
    }
    for (action <- what.all("not_matched_by_source_actions")) {
      action("delete_action")
      made = condition(action).fold(made.whenNotMatchedBySource())(made.whenNotMatchedBySource).delete()
    }
    made.execute().queryExecution.commandExecuted
  }
}

object DeltaRelations {
  /** The type of Delta's messages, from the client's descriptors and the server's own of what they refer to. */
  private lazy val relation = {
    val known = Seq(proto.Relation.getDescriptor, proto.Expression.getDescriptor, proto.DataType.getDescriptor)
    val start = known.map(each => each.getFile.getName -> each.getFile).toMap
    val in = getClass.getResourceAsStream("/delta-connect.descriptors")
    val files = FileDescriptorSet.parseFrom(in).getFileList.asScala.foldLeft(start) { (found, file) =>
      val needed = file.getDependencyList.asScala.map(found).toArray
      found + (file.getName -> FileDescriptor.buildFrom(file, needed))
    }
    files("delta/connect/relations.proto").findMessageTypeByName("DeltaRelation")
  }

  implicit private class Fields(message: DynamicMessage) {
    private def field(name: String) = message.getDescriptorForType.findFieldByName(name)
    def get(name: String): Option[DynamicMessage] =
      Option.when(message.hasField(field(name)))(message.getField(field(name)).asInstanceOf[DynamicMessage])
    def all(name: String): Seq[DynamicMessage] =
      message.getField(field(name)).asInstanceOf[java.util.List[DynamicMessage]].asScala.toSeq
    def apply(name: String): DynamicMessage = get(name).get
    def text(name: String): String = message.getField(field(name)).asInstanceOf[String]
  }
}
