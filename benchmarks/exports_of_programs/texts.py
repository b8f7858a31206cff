"""Questions and answers in ten languages, made from templates with names, numbers and topics."""

# ruff: noqa: RUF001, E501 - texts of other scripts, a sentence a line

from __future__ import annotations

import random

SENTENCES: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "en": (
        (
            "How far is it from {a} to {b}?",
            "Explain how {a} works in {n} steps.",
            "Which tool should I take for {a}, and why not {b}?",
            "Give me {n} ideas for a trip to {a}.",
            "Why did the {a} engine stop after {n} hours?",
        ),
        (
            "The road from {a} to {b} is about {n} kilometres long.",
            "Start with {a}, wait {n} minutes, and then add {b}.",
            "Most people choose {a} because it costs only {n} coins a day.",
            "{a} was founded by {b} in the year {y}.",
            "You should check {a} before {b} becomes a problem.",
            "Between {a} and {b} there is a small station with {n} platforms.",
            "A good rule is to store {a} at {n} degrees and away from light.",
            "If {a} fails, replace it with {b} and try once more.",
            "In winter {a} closes early, so plan {n} hours for the visit.",
            "Experts such as {b} recommend {a} for beginners.",
            "The museum of {a} shows {n} paintings of the harbour.",
            "Mix {n} grams of {a} with warm water until it is smooth.",
        ),
        " ",
    ),
    "de": (
        (
            "Wie weit ist es von {a} nach {b}?",
            "Erkläre in {n} Schritten, wie {a} funktioniert.",
            "Warum sollte ich {a} und nicht {b} nehmen?",
            "Nenne mir {n} Ideen für einen Ausflug nach {a}.",
        ),
        (
            "Die Straße von {a} nach {b} ist ungefähr {n} Kilometer lang.",
            "Beginne mit {a}, warte {n} Minuten und gib dann {b} dazu.",
            "Viele wählen {a}, weil es nur {n} Münzen am Tag kostet.",
            "{a} wurde im Jahr {y} von {b} gegründet.",
            "Prüfe {a}, bevor {b} zum Problem wird.",
            "Zwischen {a} und {b} liegt ein kleiner Bahnhof mit {n} Gleisen.",
            "Im Winter schließt {a} früh, plane also {n} Stunden ein.",
            "Fachleute wie {b} empfehlen {a} für Anfänger.",
            "Das Museum von {a} zeigt {n} Bilder des Hafens.",
            "Lagere {a} bei {n} Grad und fern vom Licht.",
        ),
        " ",
    ),
    "fr": (
        (
            "Quelle est la distance entre {a} et {b} ?",
            "Explique en {n} étapes comment {a} fonctionne.",
            "Pourquoi choisir {a} plutôt que {b} ?",
            "Donne-moi {n} idées de sortie à {a}.",
        ),
        (
            "La route de {a} à {b} fait environ {n} kilomètres.",
            "Commencez par {a}, attendez {n} minutes, puis ajoutez {b}.",
            "Beaucoup choisissent {a} parce que cela ne coûte que {n} pièces par jour.",
            "{a} a été fondé par {b} en {y}.",
            "Vérifiez {a} avant que {b} ne devienne un problème.",
            "Entre {a} et {b} se trouve une petite gare avec {n} quais.",
            "En hiver, {a} ferme tôt, alors prévoyez {n} heures.",
            "Des experts comme {b} conseillent {a} aux débutants.",
            "Le musée de {a} montre {n} tableaux du port.",
            "Gardez {a} à {n} degrés et à l'abri de la lumière.",
        ),
        " ",
    ),
    "es": (
        (
            "¿Qué distancia hay entre {a} y {b}?",
            "Explica en {n} pasos cómo funciona {a}.",
            "¿Por qué debería elegir {a} y no {b}?",
            "Dame {n} ideas para una excursión a {a}.",
        ),
        (
            "El camino de {a} a {b} tiene unos {n} kilómetros.",
            "Empieza con {a}, espera {n} minutos y luego añade {b}.",
            "Muchos eligen {a} porque solo cuesta {n} monedas al día.",
            "{a} fue fundada por {b} en el año {y}.",
            "Revisa {a} antes de que {b} sea un problema.",
            "Entre {a} y {b} hay una pequeña estación con {n} andenes.",
            "En invierno {a} cierra temprano, así que calcula {n} horas.",
            "Expertos como {b} recomiendan {a} a los principiantes.",
            "El museo de {a} muestra {n} cuadros del puerto.",
            "Guarda {a} a {n} grados y lejos de la luz.",
        ),
        " ",
    ),
    "pt": (
        (
            "Qual é a distância entre {a} e {b}?",
            "Explique em {n} passos como {a} funciona.",
            "Por que escolher {a} e não {b}?",
            "Dê-me {n} ideias para um passeio em {a}.",
        ),
        (
            "A estrada de {a} até {b} tem cerca de {n} quilômetros.",
            "Comece com {a}, espere {n} minutos e depois junte {b}.",
            "Muitos escolhem {a} porque custa apenas {n} moedas por dia.",
            "{a} foi fundada por {b} no ano de {y}.",
            "Verifique {a} antes que {b} vire um problema.",
            "Entre {a} e {b} há uma pequena estação com {n} plataformas.",
            "No inverno {a} fecha cedo, então reserve {n} horas.",
            "Especialistas como {b} recomendam {a} para iniciantes.",
            "O museu de {a} mostra {n} quadros do porto.",
            "Guarde {a} a {n} graus e longe da luz.",
        ),
        " ",
    ),
    "ru": (
        (
            "Какое расстояние от {a} до {b}?",
            "Объясни за {n} шагов, как работает {a}.",
            "Почему стоит выбрать {a}, а не {b}?",
            "Назови {n} идей для поездки в {a}.",
        ),
        (
            "Дорога от {a} до {b} занимает около {n} километров.",
            "Начните с {a}, подождите {n} минут и затем добавьте {b}.",
            "Многие выбирают {a}, потому что это стоит всего {n} монет в день.",
            "{a} основал {b} в {y} году.",
            "Проверьте {a}, прежде чем {b} станет проблемой.",
            "Между {a} и {b} есть маленькая станция с {n} платформами.",
            "Зимой {a} закрывается рано, поэтому отведите {n} часов.",
            "Знатоки вроде {b} советуют {a} новичкам.",
            "Музей {a} показывает {n} картин гавани.",
            "Храните {a} при {n} градусах и вдали от света.",
        ),
        " ",
    ),
    "zh": (
        (
            "从{a}到{b}有多远？",
            "请用{n}个步骤解释{a}是怎么工作的。",
            "为什么应该选{a}而不是{b}？",
            "给我{n}个去{a}旅行的主意。",
        ),
        (
            "从{a}到{b}的公路大约有{n}公里长。",
            "先放{a}，等{n}分钟，然后再加入{b}。",
            "很多人选择{a}，因为每天只需要{n}个硬币。",
            "{a}是{b}在{y}年建立的。",
            "在{b}成为问题之前，请先检查{a}。",
            "{a}和{b}之间有一个小车站，有{n}个站台。",
            "冬天{a}关门很早，所以请安排{n}个小时。",
            "像{b}这样的专家向初学者推荐{a}。",
            "{a}的博物馆展出{n}幅港口的画。",
            "请把{a}放在{n}度并且避光的地方。",
        ),
        "",
    ),
    "ja": (
        (
            "{a}から{b}まではどのくらいの距離ですか？",
            "{a}の仕組みを{n}段階で説明してください。",
            "なぜ{b}ではなく{a}を選ぶべきですか？",
            "{a}への旅行の案を{n}個ください。",
        ),
        (
            "{a}から{b}までの道はおよそ{n}キロメートルです。",
            "まず{a}を入れて{n}分待ち、それから{b}を加えます。",
            "一日{n}枚の硬貨で済むので、多くの人が{a}を選びます。",
            "{a}は{y}年に{b}によって設立されました。",
            "{b}が問題になる前に{a}を確認してください。",
            "{a}と{b}の間には{n}番線まである小さな駅があります。",
            "冬は{a}が早く閉まるので、{n}時間を見込んでください。",
            "{b}のような専門家は初心者に{a}を勧めています。",
            "{a}の博物館には港の絵が{n}枚あります。",
            "{a}は{n}度で光を避けて保管してください。",
        ),
        "",
    ),
    "ko": (
        (
            "{a}에서 {b}까지는 얼마나 먼가요?",
            "{a}의 원리를 {n}단계로 설명해 주세요.",
            "왜 {b} 대신 {a}를 골라야 하나요?",
            "{a} 여행 아이디어를 {n}개 주세요.",
        ),
        (
            "{a}에서 {b}까지의 길은 약 {n}킬로미터입니다.",
            "{a}부터 넣고 {n}분 기다린 다음 {b}를 더하세요.",
            "하루에 동전 {n}개면 되기 때문에 많은 사람이 {a}를 고릅니다.",
            "{a}는 {y}년에 {b}가 세웠습니다.",
            "{b}가 문제가 되기 전에 {a}를 확인하세요.",
            "{a}와 {b} 사이에는 승강장이 {n}개인 작은 역이 있습니다.",
            "겨울에는 {a}가 일찍 닫으니 {n}시간을 잡으세요.",
            "{b} 같은 전문가는 초보자에게 {a}를 권합니다.",
            "{a} 박물관에는 항구 그림이 {n}점 있습니다.",
            "{a}는 {n}도에서 빛을 피해 보관하세요.",
        ),
        " ",
    ),
    "ar": (
        (
            "كم تبعد {a} عن {b}؟",
            "اشرح في {n} خطوات كيف تعمل {a}.",
            "لماذا أختار {a} بدلا من {b}؟",
            "أعطني {n} أفكار لرحلة إلى {a}.",
        ),
        (
            "يبلغ طول الطريق من {a} إلى {b} حوالي {n} كيلومترا.",
            "ابدأ مع {a} وانتظر {n} دقائق ثم أضف {b}.",
            "يختار كثيرون {a} لأنها تكلف {n} قطع نقدية فقط في اليوم.",
            "أسس {b} مدينة {a} في عام {y}.",
            "افحص {a} قبل أن تصبح {b} مشكلة.",
            "بين {a} و{b} محطة صغيرة فيها {n} أرصفة.",
            "في الشتاء تغلق {a} مبكرا فخصص {n} ساعات.",
            "ينصح خبراء مثل {b} المبتدئين باستخدام {a}.",
            "يعرض متحف {a} {n} لوحات للميناء.",
            "احفظ {a} عند {n} درجة بعيدا عن الضوء.",
        ),
        " ",
    ),
}
"""Questions, sentences of answers, and what stands between sentences, by language."""
LANGUAGES = tuple(SENTENCES)
SHORT = {
    "en": ("Yes, {a} is right.", "{a}, I think.", "About {n}."), "de": ("Ja, {a} stimmt.", "{a}, denke ich."),
    "fr": ("Oui, {a} est juste.", "{a}, je pense."), "es": ("Sí, {a} es correcto.", "{a}, creo."),
    "pt": ("Sim, {a} está certo.", "{a}, acho."), "ru": ("Да, {a} верно.", "{a}, думаю."),
    "zh": ("是的，{a}是对的。", "我想是{a}。"), "ja": ("はい、{a}で正しいです。", "{a}だと思います。"),
    "ko": ("네, {a}가 맞습니다.", "{a}라고 생각해요."), "ar": ("نعم، {a} صحيح.", "أظن {a}."),
}  # fmt: skip
SNIPPETS = (
    "```python\ndef {k}(values):\n    total = {n}\n    for value in values:\n        if value > {m}:\n            total += value\n    return total\n```",
    "```js\nconst {k} = (items) => items.filter((x) => x.size > {n}).map((x) => x.name);\nconsole.log({k}([]));\n```",
    "```sql\nSELECT {k}, count(*) FROM stations\nWHERE platforms > {n} GROUP BY {k} ORDER BY 2 LIMIT {m};\n```",
    '```bash\nfor f in *.{k}; do\n\tmv "$f" "backup/{n}-$f"\ndone\n```',
)
_SYLLABLES = tuple(
    a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "el", "or")
)


class Writer:
    """Makes names, questions and answers, each different, from one seed."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._known: set[str] = set()

    def name(self) -> str:
        """Return a name that was never given before."""
        while True:
            name = "".join(
                self._draw.choice(_SYLLABLES) for _ in range(self._draw.randint(3, 4))
            ).capitalize()
            if name not in self._known and len(name) > 5:
                self._known.add(name)
                return name

    def question(self, language: str) -> str:
        """Return a question."""
        return self._filled(self._draw.choice(SENTENCES[language][0]))

    def short(self, language: str) -> tuple[str, list[str]]:
        """Return a short answer and the name by which it is known."""
        key = self.name()
        template = self._draw.choice([one for one in SHORT[language] if "{a}" in one])
        return template.replace("{a}", key), [key]

    def answer(
        self, language: str, chars: int, *, with_code: bool = False
    ) -> tuple[str, list[str]]:
        """Return an answer of about some length, and names at its beginning and its end."""
        _, sentences, space = SENTENCES[language]
        first, last = self.name(), self.name()
        said = [self._filled(self._draw.choice(sentences), first)]
        while sum(map(len, said)) < chars:
            paragraph = [
                self._filled(self._draw.choice(sentences)) for _ in range(self._draw.randint(1, 4))
            ]
            said.append(space.join(paragraph) if len(said) % 3 else "- " + "\n- ".join(paragraph))
        if with_code:
            snippet = self._draw.choice(SNIPPETS)
            said.append(
                snippet.replace("{k}", self.name().lower())
                .replace("{n}", str(self._number()))
                .replace("{m}", str(self._number()))
            )
        said.append(self._filled(self._draw.choice(sentences), last))
        return "\n\n".join(said), [first, last]

    def _number(self) -> int:
        return self._draw.randint(3, 97)

    def _filled(self, template: str, name: str = "") -> str:
        a, b = name or self.name(), self.name()
        if "{a}" not in template:
            a, b = self.name(), name or self.name()
        year = self._draw.randint(1205, 1989)
        return template.format(a=a, b=b, n=self._number(), y=year)
