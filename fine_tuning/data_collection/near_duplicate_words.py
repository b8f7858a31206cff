"""Words of ten and more languages, by what a change of them does to a question or a reply.

``FILLERS`` change nothing when they come, go or are exchanged; ``POLITE`` neither, even where every
other word counts; ``FACTS`` always change something; words of one row of ``SYNONYMS`` stand for one
another. Prepositions of direction, question words and pronouns with a gender are in none of them.
"""

# ruff: noqa: E501, RUF001, SIM905 - lists of words in many scripts

from __future__ import annotations

import re

FILLERS: dict[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "en": "a an the please just really very quite so also too actually basically simply well ok "
        "okay hi hello hey dear thanks thank you i we me my your our us it its this that these those "
        "there here is are am be been being do does did have has can could would will shall may might "
        "should want like need know tell give let s d ll ve re m and then now which as of in on at for "
        "by with via using to some any kindly sure certainly absolutely course great good question "
        "anyway quickly exactly maybe perhaps",
        "de": "sag sagt sage der die das den dem des ein eine einen einem einer eines bitte danke hallo hi guten tag "
        "mal doch eben halt nun ja so auch sehr ganz wirklich eigentlich einfach gerne gern ich du er "
        "sie es wir ihr mich mir dich dir uns mein meine meinen dein deine ihre ist sind bin sei kann "
        "kannst können könnte könntest würde würdest wird werden habe hast hat haben man und dann da "
        "dort hier dass von im in am an auf für mit zu zum zur natürlich klar gut dieser diese dieses",
        "fr": "dis dites le la les l un une des du de d s il vous te plait plaît merci bonjour salut bien très "
        "vraiment aussi alors donc juste simplement je j tu nous on me m moi mon ma mes ton ta tes votre "
        "vos est es suis sont être a ai as avez peux peut peuvent pouvez pourrais pourriez voudrais et "
        "puis ici ce cet cette ces c que qu qui en dans sur pour avec par à au aux bien sûr",
        "es": "dime dígame puedes el la los las lo un una unos unas por favor gracias hola muy también bien pues entonces "
        "solo simplemente realmente yo tú usted nosotros me te se mi mis tu tus su sus es son está están "
        "soy ser estar ha he has puedo puede pueden puedes podría podrías quiero quisiera y e luego aquí "
        "este esta esto estos estas ese esa eso que de del en al a para con claro supuesto",
        "it": "dimmi mi dica il lo la i gli le l un uno una per favore piacere grazie ciao buongiorno molto anche bene "
        "allora quindi solo semplicemente davvero io tu noi mi ti ci mio mia tuo tua suo sua è sono sei "
        "essere ha ho hai può puoi possono potresti potrebbe vorrei e ed poi qui questo questa questi "
        "queste quello che di del della dei delle in nel nella su al alla a con da certo",
        "pt": "diga dizer me o a os as um uma uns umas por favor obrigado obrigada olá oi muito também bem então só "
        "apenas simplesmente realmente eu tu você vocês nós me te se meu minha seu sua é são está estão "
        "ser estar tem tenho pode podem posso poderia gostaria quero e depois aqui este esta isto esse "
        "essa isso que de do da dos das em no na nos nas ao à para com claro",
        "nl": "vertel zeg de het een alsjeblieft alstublieft bedankt dank hallo hoi heel erg ook wel dus gewoon even "
        "eigenlijk echt graag ik jij je u wij we mij me mijn jouw uw is zijn ben kan kun kunt kunnen zou "
        "wil heb heeft hebben en dan er hier dit dat deze die van in op aan voor met te om bij natuurlijk "
        "zeker goed",
        "pl": "powiedz powiedzcie podpowiedz proszę dzięki dziękuję cześć hej witam dzień dobry bardzo też także no więc po prostu "
        "naprawdę właściwie ja ty my mi mnie ci się mój moja moje twój twoja jest są być może możesz "
        "można mogę mógłbyś chcę chciałbym i oraz potem tu tutaj ten ta to te tego tej który która które "
        "że w we na dla z ze do o u oczywiście dobrze",
        "ru": "подскажи подскажите скажи скажите мне пожалуйста спасибо привет здравствуйте здравствуй добрый день очень тоже также ну просто "
        "действительно вообще же ли бы я ты вы мы мне тебе вам нам мой моя моё мои твой ваш это этот эта "
        "эти тот та те есть быть может можешь можете можно могу хочу хотел и а потом тут здесь там "
        "который которая которые что в во на для с со к по о об у конечно хорошо",
        "tr": "söyle söyler misiniz lütfen teşekkürler teşekkür ederim merhaba selam çok da de ki sadece gerçekten aslında ben "
        "sen siz biz bana sana bize benim senin bu şu o bir ve sonra burada olarak için ile mi mı mu mü "
        "misin mısın musun müsün misiniz ederiz dir dır olan tabii elbette peki",
        "vi": "vui lòng xin hãy giúp cảm ơn chào bạn tôi mình rất cũng thì là các những một cái của cho "
        "và với ở tại này đó ạ nhé",
        "id": "tolong silakan terima kasih halo hai sangat juga saja saya anda kamu kami kita ini itu "
        "adalah yang dan lalu di pada untuk dengan dari bisa dapat akan tentu",
        "sv": "en ett den det de snälla tack hej mycket också bara verkligen jag du vi ni mig dig min mitt "
        "din är var vara kan kunde skulle vill har och sedan här detta denna som av i på för med till att",
        "ar": "اخبرني قل لي من فضلك لو سمحت شكرا مرحبا السلام عليكم اهلا جدا ايضا فقط حقا انا انت نحن هذا هذه ذلك تلك "
        "هو هي في على عن ان التي الذي هل يمكنك ممكن و يا بالطبع حسنا رجاء",
        "hi": "बताइए बताओ बताएँ बताएं कृपया धन्यवाद नमस्ते बहुत भी तो ही मैं मुझे आप तुम हम मेरा मेरी मेरे आपका आपकी यह ये वह वे "
        "है हैं हूँ था का की के को में पर से और एक कि जो यहाँ ज़रूर जी सकते सकता हो क्या",
        "zh": "的 了 吗 呢 吧 啊 呀 哦 嘛 请 您 你 我 就 很 也 都 是 个 这 那 和 与 可以 能够 麻烦 请问 你好 您好 谢谢 一下 帮我 "
        "给我 告诉我 非常 我想 我们 如何 怎么样 一个 其实 好的 当然 应该 需要",
        "ja": "は が を に の と も か ね よ です ます でしょうか ですか ますか ください 下さい お願いします お願い致します 教えて とても "
        "すみません あの この その こと ために という ました でした である",
        "ko": "알려 알려주세요 말해 좀 네 예 정말 아주 매우 그냥 저 제 저는 제가 나는 내가 당신 그 이 저기 안녕하세요 감사합니다 "
        "주세요 해주세요 및 그리고 또한 수 것 있습니다 있어요 합니다",
        "th": "ครับ ค่ะ คะ นะ จ้า หน่อย ช่วย กรุณา โปรด ขอบคุณ สวัสดี มาก ด้วย ผม ฉัน คุณ เรา นี้ นั้น "
        "สามารถ และ ก็",
    }.items()
}  # fmt: skip

POLITE = frozenset(
    "please kindly thanks thank you hi hello hey dear sure certainly course of could can would bitte "
    "danke hallo guten tag kannst könntest du mir merci bonjour salut svp stp gracias hola por favor "
    "grazie ciao obrigado obrigada olá oi alsjeblieft alstublieft bedankt hoi proszę dzięki dziękuję "
    "cześć пожалуйста спасибо привет здравствуйте lütfen teşekkürler merhaba selam 请 您 请问 谢谢 你好 您好 麻烦 ください 下さい お願いします شكرا "
    "مرحبا कृपया धन्यवाद नमस्ते ครับ ค่ะ คะ".split()
)

NEGATIONS = (
    "not no never none nothing nobody without neither nor cannot isnt dont unless except "
    "nicht kein keine keinen keinem keiner nie niemals ohne nichts weder außer "
    "ne n pas jamais aucun aucune sans rien ni sauf nunca jamás ningún ninguno ninguna sin nada "
    "tampoco salvo non mai nessun nessuno senza né não nem sem nenhum nenhuma niet geen nooit zonder "
    "nie nigdy bez żaden ani не нет ни никогда без нельзя değil yok hayır asla hiç không chưa đừng "
    "tidak bukan jangan tanpa inte ej aldrig utan لا ليس ليست لم لن بدون غير नहीं मत बिना न 不 没 沒 無 "
    "无 未 非 否 勿 別 别 안 못 아니 없 ไม่ ห้าม"
).split()

ANTONYMS = (
    "yes true false right left up down increase decrease rise fall open close start stop before after "
    "above below over under inside outside in out on off more less most least always sometimes all "
    "some only first last minimum maximum min max hot cold high low big small long short positive "
    "negative neutral good bad male female he she him her his hers they buy sell win lose add remove "
    "enable disable install uninstall import export encode decode push pull read write hard soft fast "
    "slow early late east west north south old new young rich poor allow deny safe dangerous from to "
    "correct incorrect wrong valid invalid legal illegal possible impossible ascending descending "
    "horizontal vertical internal external input output upload download cheap expensive light dark "
    "ja nein wahr falsch richtig links rechts oben unten vor nach immer alle nur mehr weniger groß "
    "klein heiß kalt oui non vrai faux gauche droite haut bas avant après toujours tout plus moins sí "
    "si no verdadero falso izquierda derecha arriba abajo antes después siempre todo más menos sì vero "
    "sinistra destra sopra sotto prima dopo sempre tutti più meno sim verdadeiro esquerda direita acima "
    "abaixo depois sempre mais menos waar onwaar links rechts boven onder voor na altijd meer minder "
    "tak prawda fałsz lewo prawo przed po zawsze więcej mniej да истина ложь лево право до после всегда "
    "больше меньше evet doğru yanlış sol sağ önce sonra her daha az نعم صحيح خطأ يمين يسار قبل بعد हाँ "
    "सही गलत बाएँ दाएँ पहले बाद 是 否 对 错 左 右 上 下 前 后 後 大 小 多 少 高 低 男 女 他 她 네 아니요 "
    "positiv negativ positif négatif positivo negativo pozytywny negatywny olumlu olumsuz"
).split()

MEASURES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred "
    "thousand million billion half double triple twice once second third fourth fifth dozen quarter "
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf zwanzig hundert tausend halb "
    "deux trois quatre cinq sept huit neuf dix vingt cent mille dos tres cuatro cinco seis siete ocho "
    "nueve diez veinte cien due tre quattro cinque sei sette otto nove dieci venti cento dois duas três "
    "quatro sete oito dez vinte cem twee drie vijf zes zeven acht negen tien dwa trzy cztery pięć sześć "
    "siedem osiem dziewięć dziesięć два три четыре пять шесть семь восемь девять десять сто iki üç dört "
    "beş altı yedi sekiz dokuz on yüz hai ba bốn năm sáu bảy tám chín mười 一 二 三 四 五 六 七 八 九 十 百 "
    "千 万 億 亿 两 零 半 واحد اثنان ثلاثة اربعة خمسة ستة سبعة ثمانية تسعة عشرة दो तीन चार पाँच छह सात "
    "आठ नौ दस monday tuesday wednesday thursday friday saturday sunday january february march april "
    "june july august september october november december montag dienstag mittwoch donnerstag freitag "
    "samstag sonntag lundi mardi mercredi jeudi vendredi samedi dimanche lunes martes miércoles jueves "
    "viernes sábado domingo today tomorrow yesterday heute morgen gestern hier demain hoy mañana ayer "
    "月 火 水 木 金 土 日 red blue green yellow black white brown orange purple pink grey gray rot blau "
    "grün gelb schwarz weiß rouge bleu vert jaune noir blanc rojo azul verde amarillo negro blanco "
    "rosso blu giallo nero bianco красный синий зелёный 红 蓝 绿 黄 黑 白 赤 青 meter metre meters "
    "kilometer kilometers km mile miles gram grams kilogram kilograms kg pound pounds ounce ounces "
    "liter liters litre litres gallon cup cups tablespoon teaspoon celsius fahrenheit kelvin minute "
    "minutes hour hours day days week weeks month months year years dollar dollars euro euros percent "
    "morning afternoon evening night summer winter spring autumn"
).split()

FACTS = frozenset((*NEGATIONS, *ANTONYMS, *MEASURES))

SYNONYMS: dict[str, int] = {
    word: number
    for number, row in enumerate(
        (
            "big large", "bought purchased", "began started", "chose picked selected", "made created built", "under beneath underneath", "small tiny little", "fast quick rapid", "begin start commence", "help assist", "show display",
            "use utilize utilise employ using", "make create build", "require need", "buy purchase",
            "obtain get", "simple easy", "repair fix", "choose select pick", "because since",
            "about regarding concerning", "reboot restart", "explain describe", "way method approach",
            "picture image photo", "movie film", "answer reply response", "issue problem",
            "located situated", "approximately roughly around circa", "important crucial essential",
            "usually typically generally commonly normally often", "several multiple various",
            "folder directory", "however but", "therefore thus hence", "finally lastly",
            "kids children", "find locate", "try attempt", "happy glad", "additionally furthermore",
            "best ideal", "tips advice", "write compose", "nutritious healthy", "keep maintain",
            "though although", "typical common", "remain stay", "helpful useful", "wonderful great",
            "schnell rasch zügig", "benutzen verwenden nutzen", "anfangen beginnen", "jedoch aber",
            "deshalb daher deswegen", "ungefähr etwa circa", "bekommen erhalten", "möglichkeit weise",
            "rapide vite", "utiliser employer", "commencer débuter", "cependant mais", "environ près",
            "rápido veloz", "usar utilizar emplear", "empezar comenzar", "pero mas", "coche automóvil",
            "usare utilizzare", "iniziare cominciare", "però ma", "veloce rapido", "começar iniciar",
            "gebruiken benutten", "snel vlug", "beginnen starten", "używać stosować", "szybko prędko",
            "быстро скоро", "использовать применять", "но однако", "hızlı çabuk", "kullanmak yararlanmak",
        )
    )
    for word in row.split()
}  # fmt: skip

LOOKS_AT_LETTERS = re.compile(
    r"(?i)\b(?:spell|typo|misspel|proofread|grammar|capitali[sz]|upper[- ]?case|lower[- ]?case|"
    r"punctuat|comma|apostroph|hyphen|quotation mark|komma\b|virgule|virgola|vírgula|przecin|запят|virgül|white ?space|indent|rechtschreib|großschreib|satzzeichen|orthograph|ortograf|"
    r"ponctuation|maiúscul|mayúscul|majuscul|maiuscol|орфограф|пунктуац|ошибк|yazım)|"
    r"错别字|标点|逗号|読点|쉼표|誤字|맞춤법|إملائ|वर्तनी"
)
"""A question about letters, case or marks: there they are what matters."""

LOOKS_AT_WORDS = re.compile(
    r"(?i)\b(?:translat|synonym|antonym|opposite|rhym|paraphras|rephras|rewrite|reword|past tense|"
    r"plural|conjugat|sentiment|classif|categori|how many (?:words|letters|characters)|count the|"
    r"reverse|anagram|übersetz|umformulier|gegenteil|mehrzahl|trad[ui]|sinônim|sinónim|"
    r"sinonim|clasific|classific|vertaal|vertalen|tegenovergestelde|przetłumacz|переве[дс]|перевод|"
    r"синоним|антоним|çevir|dịch|terjemah|översätt)|翻译|翻訳|訳し|번역|ترجم|अनुवाद|แปล|"
    r"反义词|近义词|同义词|分类|分類"
)
"""A question that is about the very words it gives: there fillers count too."""

WRAPPINGS = re.compile(
    r"(?im)(?:^|(?<=[.!?。！？\n] )|(?<=[.!?。！？\n]))\s*(?:"
    r"(?:hi|hello|hey|good (?:morning|afternoon|evening))(?: there| everyone| all)?(?:,? (?:chatgpt|assistant|bot))?\s*[,.!:]+"
    r"|(?:i hope|hope) (?:you(?:'re| are)[^.!?\n]{0,30}|this (?:helps|finds you)[^.!?\n]{0,20})[.!]"
    r"|(?:thanks|thank you)(?: so much| very much| a lot)?(?: in advance| for your help)?[.!]+"
    r"|(?:sure|certainly|of course|absolutely|great question|good question|no problem)(?: thing)?[,.!]+"
    r"|(?:here(?:'s| is) (?:the|your|an?) answer|i(?:'d| would) be (?:happy|glad) to help)[^.!:\n]{0,20}[.!:]"
    r"|(?:please )?(?:let me know if|feel free to|don't hesitate to)[^.!?\n]{0,80}[.!?]"
    r"|(?:is there )?anything else (?:you|i)[^.!?\n]{0,60}[.!?]"
    r"|(?:hallo|guten (?:tag|morgen|abend))(?: zusammen)?\s*[,.!]+|(?:vielen |herzlichen )?dank(?: im voraus)?[.!]+"
    r"|(?:ich hoffe,? (?:das|dies) hilft)[^.!?\n]{0,20}[.!]|(?:gerne|klar|natürlich|selbstverständlich)[,.!]+"
    r"|(?:bonjour|salut|bonsoir)\s*[,.!]+|merci(?: beaucoup| d'avance)?\s*[.!]+|(?:bien sûr|certainement)\s*[,.!]+"
    r"|¡?(?:hola|buenos días|buenas tardes)\s*[,.!]+|(?:muchas )?gracias(?: de antemano)?[.!]+|¡?(?:claro|por supuesto)[,.!]+"
    r"|(?:ciao|buongiorno|salve)\s*[,.!]+|grazie(?: mille| in anticipo)?[.!]+|(?:certo|certamente)[,.!]+"
    r"|(?:olá|oi|bom dia)\s*[,.!]+|(?:muito )?obrigad[oa][.!]+|(?:claro|com certeza)[,.!]+"
    r"|(?:hoi|goedendag)\s*[,.!]+|(?:alvast )?bedankt[.!]+|(?:natuurlijk|zeker)[,.!]+"
    r"|(?:cześć|witam|dzień dobry)\s*[,.!]+|(?:dzięki|dziękuję)[.!]+|oczywiście[,.!]+"
    r"|(?:привет|здравствуйте|добрый день)\s*[,.!]+|спасибо(?: заранее| большое)?[.!]+|конечно[,.!]+"
    r"|(?:merhaba|selam)\s*[,.!]+|(?:çok )?teşekkür(?:ler| ederim)[.!]+|(?:tabii(?: ki)?|elbette)[,.!]+"
    r"|(?:你好|您好|当然|好的|没问题)(?:可以)?[，,。！!]+|(?:谢谢|谢谢您|非常感谢)[。！!]*|希望(?:这|对你|对您)[^。！\n]{0,12}[。！]"
    r"|(?:こんにちは|もちろん(?:です)?|はい)[、，,。！!]+|(?:ありがとうございます|よろしくお願いします)[。！!]*"
    r"|(?:안녕하세요|물론입니다|물론이죠|네)[,.!]+|감사합니다[.!]*"
    r"|(?:مرحبا|مرحباً|أهلا|السلام عليكم|بالطبع)\s*[،,.!]+|شكرا(?: لك| جزيلا)?[.!]*"
    r"|(?:नमस्ते|ज़रूर|बिल्कुल)\s*[,।.!]+|धन्यवाद[।.!]*|สวัสดี(?:ครับ|ค่ะ)?\s*[,.!]*|ขอบคุณ(?:ครับ|ค่ะ|มาก)*[.!]*"
    r")"
)  # fmt: skip
"""Greetings, thanks, and sentences that begin or end any reply."""

CONFUSABLE = frozenset(
    "county country desert dessert quite quiet trial trail diary dairy casual causal martial marital "
    "through though thorough board broad angle angel united untied sacred scared silver sliver form "
    "from price prize latter later personal personnel moral morale human humane artist artiste beach "
    "breach decent descent breath breathe cloth clothe bathe teethe corps copse planet plant plane "
    "planned planed staring starring hoping hopping dinner diner loose lose choose chose whether "
    "weather weathers addition edition adaption adoption adoptive adaptive abduct adduct revolution "
    "evolution resolution carbon carbone cancer canter hospital statue status statute stature "
    "principal principle eminent imminent emigrate immigrate illicit elicit allusion illusion affect "
    "effect accept except access excess continent contingent contentment containment crater creator "
    "protein protean singing singeing capital capitol cornea corner coarse course covert convert "
    "contract contact contrast compliment complement custom costume stack stuck track truck batter "
    "butter better letter litter matter manner manor banner banter sister sitter winter winner "
    "kinetic genetic phonetic median medium mediate meditate medication mediation meditation "
    "immediate intermediate infection inflection injection inspection induction".split()
)
"""Words a letter away from other words: between them a difference is no slip."""
