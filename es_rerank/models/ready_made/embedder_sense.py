"""Ten questions, each with a passage that answers it and one that does not: any embedder tells them apart.

An embedder that does not has the wrong tokenizer, the wrong pooling, or reads another language.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from .. import Vectors

# ruff: noqa: RUF001 Chinese has its own punctuation


class Embeds(Protocol):
    """What embeds the texts."""

    def embed(self, texts: Sequence[str], *, purpose: Literal["query", "passage"]) -> Vectors:
        """Return unit vectors, float32, (len(texts), dims)."""
        ...


class Question(NamedTuple):
    """A question, the passage that answers it, and one about something else."""

    query: str
    right: str
    wrong: str


ENGLISH: tuple[Question, ...] = (
    Question(
        "How do bees make honey?",
        "Bees collect nectar from flowers, and in the hive they dry it until it is honey.",
        "The bank raised the interest rate on savings accounts by half a percent.",
    ),
    Question(
        "What is the capital of France?",
        "Paris is the capital and the largest city of France.",
        "Boil the noodles in salted water for eight minutes.",
    ),
    Question(
        "how to repair a flat bicycle tyre",
        "Take the inner tube out of the tyre of the bicycle, find the hole, and glue a patch on it.",
        "The orchestra played the third symphony of Brahms in the new hall.",
    ),
    Question(
        "Why is the sea salty?",
        "Rivers carry minerals from rocks into the sea; the water evaporates and the salt stays behind.",
        "The parliament elected a new speaker on Tuesday.",
    ),
    Question(
        "symptoms of influenza",
        "Influenza begins with fever, a dry cough, a headache and aching muscles.",
        "This chair is made of oak and has four legs.",
    ),
    Question(
        "Who wrote Romeo and Juliet?",
        "Romeo and Juliet is a tragedy that William Shakespeare wrote at the beginning of his career.",
        "Concrete is a mixture of cement, sand, gravel and water.",
    ),
    Question(
        "When was the first moon landing?",
        "In July 1969 two astronauts of Apollo 11 were the first people who landed on the moon.",
        "Cats sleep for most of the day and hunt in the evening.",
    ),
    Question(
        "best soil for growing tomatoes",
        "Tomatoes grow well in loose, slightly acid soil with much compost.",
        "The train to the airport leaves every twenty minutes.",
    ),
    Question(
        "How does a vaccine work?",
        "A vaccine shows the immune system a harmless part of a germ, so that it makes antibodies.",
        "The novel was translated into thirty languages.",
    ),
    Question(
        "how to sort a list in Python",
        "In Python the method sort of a list puts its elements in order; sorted returns a new list.",
        "The volcano on the island erupted twice in the last century.",
    ),
)

CHINESE: tuple[Question, ...] = (
    Question(
        "蜜蜂怎样酿蜜？",
        "蜜蜂采集花蜜，带回蜂巢，把水分蒸发以后就成了蜂蜜。",
        "银行把存款利率提高了半个百分点。",
    ),
    Question("法国的首都是哪里？", "巴黎是法国的首都，也是法国最大的城市。", "面条要在盐水里煮八分钟。"),
    Question(
        "自行车轮胎破了怎么补？",
        "取出自行车的内胎，找到破洞，再贴上补胎片。",
        "乐团在新音乐厅演奏了第三交响曲。",
    ),
    Question(
        "海水为什么是咸的？",
        "河流把岩石里的矿物质带进海里，海水蒸发，盐留了下来。",
        "议会在星期二选出了新议长。",
    ),
    Question(
        "流感有什么症状？", "流感发病时会发烧、干咳、头痛和肌肉酸痛。", "这把椅子是橡木做的，有四条腿。"
    ),
    Question(
        "《红楼梦》的作者是谁？",
        "《红楼梦》是清代作家曹雪芹写的长篇小说。",
        "混凝土由水泥、沙子、石子和水搅拌而成。",
    ),
    Question(
        "人类第一次登月是哪一年？",
        "1969年7月，两名宇航员成为最早登上月球的人。",
        "猫白天大部分时间在睡觉，晚上出来捕猎。",
    ),
    Question(
        "种西红柿用什么土好？", "西红柿适合种在疏松、微酸、堆肥多的土壤里。", "去机场的火车每二十分钟一班。"
    ),
    Question(
        "疫苗是怎样起作用的？",
        "疫苗让免疫系统认识病菌的无害部分，从而产生抗体。",
        "这部小说被翻译成三十种语言。",
    ),
    Question(
        "怎样给列表排序？", "列表的排序方法会把其中的元素按顺序排列。", "岛上的火山在上个世纪喷发了两次。"
    ),
)
