"""How replies refuse, apologise, explain and turn to something else, in twenty languages.

``REFUSES`` says that the writer cannot or will not do what was asked; ``PADDING`` is what stands
around it and helps nobody: apologies, policies, dangers, offers of other help. ``COMPLIES`` opens a
reply that does what was asked, be it to write a refusal for somebody. Each pattern reads
one sentence; ``HINTS`` are what a language's refusals have in common, cheap to search for in RE2.
"""

# ruff: noqa: E501, RUF001 - phrases in many scripts

from __future__ import annotations

_Q = r"['\u2019]"
_DO = (
    r"(?:help|assist|aid|support|provide|answer|comply|fulfil+|do (?:that|this|it|so)|engage|create|write|generate|produce|"
    r"share|give (?:you|out|advice|instructions|medical|legal|financial|any)|offer|discuss|participate|continue with|tell (?:you|jokes)|reveal|disclose|"
    r"access|browse|open (?:links|files|urls)|facilitate|carry out|process|complete|accommodate|endorse|promote|encourage|perform|respond to|"
    r"go into|advise|recommend (?:ways|methods|any)|role-?play|pretend|impersonate|speculate|comment|translate|summari[sz]e|"
    r"draw|play|act as|make (?:that|this|it|such|jokes|calls|any|purchases|orders|reservations)|place|schedule|purchase|show you|teach|explain how|walk you through|proceed|oblige|fake|hack|book|call|send|remember|learn)"
)  # fmt: skip
_NOT_ABLE = (
    rf"(?:can(?:no|{_Q})?t|can not|could not|couldn{_Q}t|won{_Q}?t|will not|(?:a|{_Q})m (?:not able|unable|not allowed|not permitted|not going|"
    rf"not comfortable|not willing|not in a position|not prepared|not designed|not programmed|not authori[sz]ed|prohibited|forbidden)|"
    rf"(?:do not|don{_Q}?t) (?:feel comfortable|have the ability|have (?:access|permission|the capability)|want to)|"
    rf"must (?:respectfully |politely )?(?:decline|refuse)|have to (?:respectfully |politely )?(?:decline|refuse|pass)|"
    rf"(?:respectfully |politely )?(?:decline|refuse) to|(?:would|{_Q}d) rather not|(?:would|{_Q}d) prefer not|(?:am|{_Q}m) going to have to (?:decline|pass))"
)  # fmt: skip

REFUSES: dict[str, str] = {
    "en": rf"(?:\bi(?: am|{_Q}m)? (?:really |simply |just |also |still |currently |unfortunately |therefore |sorry,? (?:but )?i )?(?:am )?{_NOT_ABLE}[^.!?]*?\b{_DO}\b"
    rf"|\bi{_Q}m (?:not able|unable|not allowed|not permitted|not going|not comfortable|not willing|not authori[sz]ed)[^.!?]*?\b(?:{_DO}|with)\b"
    rf"|\bi (?:must|have to|need to|will have to|am going to have to|{_Q}ll have to|respectfully|politely|{_Q}m going to) ?(?:respectfully |politely )?(?:decline|refuse|pass)\b"
    rf"|\bi(?: would|{_Q}d) (?:rather|prefer) not\b|\bi (?:do not|don{_Q}?t) feel comfortable\b|\bi{_Q}m going to (?:pass on|sit this)"
    rf"|\bas an? (?:ai|artificial intelligence|language model|assistant|virtual assistant)[^.!?]*?\b(?:can(?:no|{_Q})?t|unable|not able|do not|don{_Q}?t|have no|won{_Q}?t|not allowed)"
    rf"|\bi(?:{_Q}m| am) (?:just |only |merely )?an? (?:ai|language model|assistant)\b[^.!?]*?\b(?:can(?:no|{_Q})?t|do not|don{_Q}?t|unable|have no)"
    rf"|\b(?:sorry|afraid),? (?:but )?(?:i|that) (?:can(?:no|{_Q})?t|can not|won{_Q}?t|am (?:not able|unable))(?: (?:do|help|assist|let|allow|give|tell|show|share|make|go|be|answer|provide|comply|discuss|write|create|fulfill?)\b|[,.!]|$)"
    rf"|\b(?:that|this)(?:{_Q}s| is) (?:not )?something i(?:{_Q}m| am)?(?: am)? ?(?:can(?:no|{_Q})?t|won{_Q}t|unable|not able|can)?\b[^.!?]*\b(?:help|assist|do|discuss|support|able|willing)"
    rf"|\b(?:sorry|no)[,.]? (?:i )?(?:can{_Q}?t do|can{_Q}?t help|no can do)\b|\bi can(?:no|{_Q})t[.!]?$|^i won{_Q}t[.!]?$"
    rf"|\b(?:cannot|can{_Q}t|unable to|not able to) (?:be of (?:help|assistance)|fulfil+ (?:this|that|your)|comply with|assist with (?:this|that|your)|help (?:you )?with (?:this|that)|process (?:this|your) request)"
    rf"|\bnot (?:able|going) to (?:help|assist) (?:you )?with (?:this|that)|\byour request (?:can(?:no|{_Q})t be|has been (?:denied|declined|refused)|violates|goes against)"
    rf"|\bi(?:{_Q}m| am) (?:not|un)(?: )?able to (?:help|assist|fulfil+|comply|provide|answer|create|generate|write|do|share|access|discuss|give|offer|browse|open|view|see|engage|continue|complete|process)"
    rf"|\bno,? i (?:won{_Q}t|will not|can(?:no|{_Q})t|refuse)\b(?: (?:do|help|write|tell|give|be|say|answer|show)\b|[.!,]))",
    "de": r"(?:(?:ich (?:kann|darf|werde|möchte|will|könnte)|(?:kann|darf|werde|möchte|will) ich)[^.!?]*(?:\bnicht|kein)[^.!?]*(?:helf|hilfe|unterstütz|weiterhelf|\bgeben|liefer|bereitstell|schreib|erstell|beantwort|erfüll|nachkomm|teilen|nennen|anbiet|behilflich|generier|verfass|mitmach|machen|durchführ|erteil|dienen|zugreif|öffnen|besprech|diskutier|abgeben|verraten|ausführ|eingehen|verarbeit|zeigen|erklären, wie)"
    r"|(?:tut mir leid|leider|entschuldigung|bedau)[^.!?]*(?:ich (?:kann|darf)|(?:kann|darf) ich)[^.!?]*(?:nicht|kein)"
    r"|ich (?:bin|wäre) (?:leider )?nicht (?:in der lage|befugt|berechtigt|bereit|dafür|dazu)|bin ich (?:leider )?nicht (?:in der lage|befugt|berechtigt|bereit)|ich (?:muss|werde)[^.!?]*(?:ablehnen|verweiger)|muss ich[^.!?]*(?:ablehnen|verweiger)|ich (?:lehne|verweigere)[^.!?]*(?:\bab|anfrage|auskunft|das)"
    r"|als (?:ki|künstliche intelligenz|sprachmodell|assistent)[^.!?]*(?:nicht|kein))",
    "fr": rf"(?:je (?:ne|n{_Q}) ?(?:peux|suis|pourrai|puis|vais|souhaite|veux|saurais)[^.!?]*(?:aider|assister|fournir|répondre|donner|écrire|rédiger|créer|générer|partager|satisfaire|accéder|faire|proposer|discuter|participer|expliquer|en mesure|pas capable|autorisé|habilité|produire|continuer|traiter|divulguer|offrir|conseiller|aborder|soutenir|ouvrir|consulter|révéler|donner suite)"
    rf"|je (?:dois|me vois)[^.!?]*(?:refuser|décliner|obligé)|je (?:refuse|décline)\b|en tant qu{_Q} ?(?:ia|intelligence artificielle|assistant|modèle)[^.!?]*(?:ne|n{_Q})[^.!?]*(?:pas|aucun)|(?:désolé|navré|regrette|malheureusement)[^.!?]*(?:je ne|je n{_Q}|pas possible|impossible de))",
    "es": r"(?:no (?:puedo|podré|podría|me es posible|me está permitido|tengo (?:permitido|permiso|autorizaci[óo]n)|estoy (?:autorizad|capacitad|en condiciones|dispuest)|soy capaz|voy a|quiero|debo)[^.!?]*(?:ayudar|asist|proporcion|responder|contest|dar(?:te|le|les)?\b|escribir|crear|generar|compart|cumplir|acceder|hacer|ofrecer|hablar|discut|particip|explicar|producir|atender|continuar|redactar|proced|decir|facilitar|revelar|abrir|procesar|opinar|aconsejar|eso|esa|con)"
    r"|(?:lo siento|lamento|lamentablemente|disculp|perdón|desgraciadamente)[^.!?]*no (?:puedo|podré|me es posible|estoy)|me (?:niego|veo obligad)|(?:debo|tengo que)[^.!?]*(?:rechazar|negarme|declinar|rehusar)|como (?:ia|inteligencia artificial|modelo|asistente)[^.!?]*\bno\b)",
    "it": r"(?:non (?:posso|potrei|sono in grado|sono autorizzat|mi è (?:possibile|permesso|consentito)|voglio|intendo|sono dispost|riesco)[^.!?]*(?:aiut|assist|forni|rispond|dar(?:ti|le|vi|e)|scriver|crear|gener|condivid|soddisf|acced|far(?:lo|e)|offri|discut|partecip|spieg|produrr|prosegui|continu|elabor|procedere|rivel|aprir|consigli|eseguir|supportar|questa|questo|con)"
    r"|(?:mi dispiace|purtroppo|spiacente|scusa|mi spiace|mi rincresce)[^.!?]*non (?:posso|sono|mi è)|(?:devo|sono costrett)[^.!?]*(?:rifiut|declin)|mi rifiuto|come (?:ia|intelligenza artificiale|modello|assistente)[^.!?]*\bnon\b)",
    "pt": r"(?:não (?:posso|poderei|poderia|consigo|me é (?:possível|permitido)|tenho (?:permissão|autorização)|estou (?:autorizad|apt|em condições|dispost)|sou capaz|vou|quero|devo)[^.!?]*(?:ajud|auxili|fornec|respond|dar\b|escrev|cria|gera|compartilh|partilh|cumpr|acess|aced|faze|oferec|discut|particip|explic|produz|atend|continu|redig|proced|dizer|revel|abrir|process|aconselh|apoiar|isso|com)"
    r"|(?:desculp|lamento|infelizmente|sinto muito|perdão)[^.!?]*não (?:posso|poderei|consigo|estou|me é)|(?:devo|tenho de|tenho que|preciso)[^.!?]*(?:recus|declin)|(?:recuso-me|eu me recuso|me recuso)|como (?:ia|uma ia|inteligência artificial|uma inteligência|modelo|um modelo|assistente|um assistente)[^.!?]*\bnão\b)",
    "nl": r"(?:(?:ik (?:kan|mag|zal|wil|ga)|(?:kan|mag|zal|wil) ik)[^.!?]*(?:\bniet|\bgeen)[^.!?]*(?:help|assist|geven|verstrek|beantwoord|schrij|maken|genereren|delen|voldoen|bieden|besprek|meedoen|meewerk|uitleggen|doen|inwillig|leveren|openen|verwerk|ondersteun|uitvoer|verder|onthul|adviseren)"
    r"|(?:sorry|het spijt me|helaas|excuses)[^.!?]*(?:kan ik|ik kan|mag ik|ik mag|ben ik|ik ben)[^.!?]*(?:niet|geen)|ik (?:ben|voel me)[^.!?]*niet (?:in staat|bevoegd|bereid|gemachtigd|comfortabel)|ben ik niet (?:in staat|bevoegd|bereid)|ik weiger\b|ik moet[^.!?]*(?:weiger|afwijz|bedank)|als (?:ai|taalmodel|assistent|kunstmatige)[^.!?]*(?:niet|geen))",
    "pl": r"(?:nie (?:mogę|jestem w stanie|będę|wolno mi|potrafię|chcę|zamierzam|mam możliwości|jestem upoważnion)[^.!?]*(?:pom[óoa]|udziel|odpowie|dostarcz|napis|stworz|wygener|spełni|podać|poda[mć]|podziel|zrobić|tego|w tym|tym|wyjaśni|dać|otworz|rozmawiać|doradz|wykon|przetworz|ujawni|uczestnicz|kontynu|zaoferow|wspier)"
    r"|(?:przykro mi|niestety|przepraszam|wybacz)[^.!?]*nie (?:mogę|jestem w stanie|potrafię|wolno)|muszę (?:odmówić|grzecznie odmówić)|odmawiam|jako (?:ai|si|sztuczna inteligencja|model|asystent)[^.!?]*\bnie\b)",
    "ru": r"(?:\bя?[^.!?]{0,3}не (?:могу|смогу|буду|имею (?:права|возможности)|в состоянии|вправе|готов|хочу|уполномочен|стану|умею)[^.!?]*(?:помо[чг]|предостав|ответ|дать|давать|выполн|созда|напис|сгенерир|подели|сделать|делать|обсужд|участв|объясн|содейств|этим|это|консульт|продолж|рассказ|открыть|сообщ|раскры|обработ|поддерж|писать|совет)"
    r"|(?:извин|прости|сожалени|жаль|увы)[^.!?]*не (?:могу|смогу|буду|имею|в состоянии)|(?:вынужден|должен|должна)[^.!?]*отказ|\b(?:я )?отказываюсь|как (?:ии|искусственный интеллект|языковая модель|ассистент|помощник)[^.!?]*(?:не |нет ))",
    "tr": r"(?:(?:yardımcı olam|yardım edem|sağlayam|yanıtlayam|cevap(?:layam| verem)|yapam|yazam|oluşturam|paylaşam|verem|yerine getirem|sunam|açıklayam|tartışam|katılam|üretem|karşılayam|destekleyem|erişem|önerem|anlatam|devam edem|söyleyem|açam|işleyem)(?:am|ıyorum|iyorum|ıyoruz|iyoruz|ayacağım|eyeceğim|m\b|em|[ıi]yor)"
    r"|yardımcı olmam mümkün değil|(?:mümkün değil|reddetmek zorundayım|reddediyorum|reddetmeliyim|izin verilmiyor|yetkim yok)|yapay zek[aâ] (?:olarak|modeli|asistan)[^.!?]*(?:yok|değil|am[ıi]yor|em[ıi]yor|mam|mem|maz|mez))",
    "zh": r"(?:(?:我|很抱歉|抱歉|对不起|對不起|恕|本助手|作为)[^。！？]*(?:无法|不能|無法|不便|不会|不可以|没办法|没有办法|沒辦法|拒绝|不被允许|不方便|做不到|难以)[^。！？]*(?:帮|幫|提供|回答|回應|回应|协助|協助|满足|滿足|完成|生成|创作|编写|写|寫|分享|讨论|討論|给出|给你|執行|执行|参与|参加|支持|做|处理|處理|解答|继续|访问|打开|透露|告诉|从命|遵从|奉告|这个请求|您的请求|你的请求|$|[，,])"
        r"|(?:抱歉|对不起|對不起)[^。！？]*(?:无法|不能|無法)|作为(?:一个|一名)?(?:人工智能|AI|ai|语言模型)[^。！？]*(?:没有|无法|不能|不会|不具备)|恕难从命|无可奉告|我拒绝|不能帮(?:你|您)|无法帮(?:你|您)|帮不了|无法满足)",
    "ja": r"(?:(?:お手伝い|お答え|お応え|提供|回答|対応|支援|作成|お教え|ご案内|生成|協力|サポート|ご提供|お受け|共有|説明|助言|ご要望|ご希望|お力|お役|実行|応じる|お話し|議論|参加|お伝え|ご紹介|手助け|アドバイス|書く|開示|お見せ)[^。！？]*(?:できません|できかねます|致しかねます|いたしかねます|しかねます|いたしません|できない|出来ません|応えられません|応じられません|られません|わけにはいきません|差し控え|お断り|ことはしません|控えさせて|なれません|に立てません|わけにいきません|は無理です)"
    r"|お断り(?:し|いた|致)|申し訳(?:ありません|ございません)[^。！？]*(?:できません|できかねます|かねます|られません|お断り|ません$)|AI(?:として|アシスタント|なので|である)[^。！？]*(?:できません|ありません|持っていません|持ちません)|答えられません|お答えできない)",
    "ko": r"(?:(?:도와|도움|제공|답변|대답|응답|작성|생성|공유|알려|지원|설명|수행|협조|응할|처리|논의|참여|드릴|말씀|해 드|해드|만들|쓸|이행|따를|안내|조언|접근|공개|들어줄|들어드릴|진행)[^.!?]*(?:수 없|수가 없|수는 없|못합니다|못해|어렵습니다|어려워|불가능|않겠습니다|거절|거부|안 됩니다|드리지 않|하지 않습니다)"
    r"|(?:죄송|미안|유감)[^.!?]*(?:수 없|수가 없|못|어렵|불가)|거절하겠|거부하겠|거절할|(?:AI|인공지능|언어 모델)[^.!?]*(?:없습니다|못합니다|않습니다|수 없))",
    "ar": r"(?:(?:لا (?:أستطيع|استطيع|يمكنني|يمكننا|أقدر|اقدر|أستطيع|يسعني|يجوز لي|يسمح لي)|لن (?:أستطيع|استطيع|أتمكن|اتمكن|أقوم|اقوم|أساعد|يمكنني)|لست (?:قادر|مخول|مستعد)|غير قادر|ليس بإمكاني|ليس بوسعي|لا أملك|يتعذر علي|لا أرغب)[^.!؟]*(?:مساعد|تقديم|الإجابة|الاجابة|إجابة|توفير|تلبية|كتابة|إنشاء|انشاء|مشاركة|ذلك|هذا|القيام|شرح|مناقشة|توليد|دعم|تنفيذ|إعطاء|أساعد|اساعد|أن |على|فتح|الوصول|الكشف)"
    r"|(?:عذرا|عذراً|آسف|اسف|أعتذر|اعتذر|للأسف|يؤسفني)[^.!؟]*(?:لا (?:أستطيع|استطيع|يمكنني)|لن |عن (?:عدم|تقديم|الإجابة|المساعدة))|أرفض|يجب أن أرفض|(?:كنموذج|بصفتي|كذكاء|باعتباري)[^.!؟]*(?:لا |ليس |لن |لست ))",
    "hi": r"(?:(?:मैं|मुझे|मेरे लिए|हम)[^।!?]*(?:मदद|सहायता|प्रदान|उत्तर|जवाब|लिख|बना|साझा|पूरा|दे |कर |बता|चर्चा|समर्थन|समझा|सहयोग|खोल|जारी|सलाह|जानकारी)[^।!?]*(?:नहीं (?:कर|दे|सक|बता|लिख|बना|रह|हो|है|हूँ|हूं|करूँ|करूं|दूँ|दूं|कर सक)|असमर्थ|मना कर|इनकार|अक्षम|अनुमति नहीं)"
    r"|(?:क्षमा|माफ़|माफ|खेद)[^।!?]*(?:नहीं|असमर्थ)|मैं (?:\S+ ){0,4}नहीं (?:\S+ ){0,2}(?:सकता|सकती|सकते|करूँगा|करूँगी|दूँगा|दूँगी|लिखूँगा)|मैं[^।!?]*(?:असमर्थ|मना करता|मना करती|इनकार करता|इनकार करती)|(?:एआई|AI|भाषा मॉडल|कृत्रिम बुद्धि)[^।!?]*(?:नहीं|असमर्थ))",
    "sv": r"(?:(?:jag (?:kan|får|vill|kommer|tänker)|(?:kan|får|vill) jag)[^.!?]*(?:inte|inga|ingen)[^.!?]*(?:hjälp|ge |svara|skriv|skapa|dela|uppfyll|göra|tillhandahåll|bistå|diskut|delta|assist|erbjud|utför)|(?:tyvärr|förlåt|ledsen|beklagar)[^.!?]*(?:kan jag|jag kan|får jag|jag får)[^.!?]*inte|jag (?:måste|vägrar)[^.!?]*(?:avböj|neka|vägra)|som (?:ai|en ai|språkmodell)[^.!?]*(?:inte|inga))",
    "vi": r"(?:(?:tôi|mình|em|chúng tôi)[^.!?]*(?:không thể|không được phép|không có khả năng|từ chối|xin phép từ chối|không sẵn lòng)[^.!?]*(?:giúp|hỗ trợ|cung cấp|trả lời|viết|tạo|chia sẻ|đáp ứng|thực hiện|làm|thảo luận|yêu cầu|truy cập|$)|(?:xin lỗi|rất tiếc)[^.!?]*không thể)",
    "id": r"(?:(?:saya|kami|aku)[^.!?]*(?:tidak (?:bisa|dapat|mampu|boleh|akan|diizinkan)|menolak)[^.!?]*(?:bantu|memberi|menyediakan|menjawab|menulis|membuat|membagi|memenuhi|melakukan|mendiskusi|berbagi|permintaan|$)|(?:maaf|sayangnya)[^.!?]*tidak (?:bisa|dapat))",
    "th": r"(?:(?:ไม่สามารถ|ไม่อาจ|ขอปฏิเสธ|ช่วยไม่ได้|ไม่ได้รับอนุญาต|ไม่สะดวก)[^.!?]*(?:ช่วย|ให้|ตอบ|เขียน|สร้าง|แบ่งปัน|ทำ|ดำเนิน|อธิบาย|บอก|ได้)|ขอโทษ[^.!?]*ไม่สามารถ|ขอปฏิเสธ)",
    "cs": r"(?:(?:nemohu|nemůžu|nesmím|nejsem schopen|nejsem schopna|odmítám|nebudu)[^.!?]*(?:pomoci|pomoct|poskyt|odpovědět|napsat|vytvořit|splnit|sdílet|udělat|s tím|vyhovět|$)|(?:omlouvám|bohužel|promiňte|lituji)[^.!?]*(?:nemohu|nemůžu|nesmím))",
    "uk": r"(?:не (?:можу|зможу|буду|маю права)[^.!?]*(?:допомог|надати|відповісти|виконати|створити|написати|поділитися|зробити|обговорю|це|цим)|(?:вибач|перепрош|шкода)[^.!?]*не (?:можу|зможу)|відмовляюс)",
    "fa": r"(?:(?:نمی‌توانم|نمیتوانم|قادر نیستم|نمی توانم|مجاز نیستم)[^.!؟]*(?:کمک|ارائه|پاسخ|بنویسم|انجام|$|این|در)|(?:متاسف|متأسف|ببخشید|عذر)[^.!؟]*(?:نمی‌توانم|نمیتوانم|قادر نیستم|نمی توانم)|(?:کمک|ارائه|پاسخ|انجام)[^.!؟]*(?:نمی‌توانم|نمی‌دهم|قادر نیستم|نمیتوانم))",
}  # fmt: skip

PADDING: dict[str, str] = {
    "en": (
        r"sorr(?:y|ies)|apologi[sz]e|apolog(?:y|ies)|unfortunately|regret|afraid|understand (?:that|your|you|how|why|the)|appreciate|as an ai|language model|"
        r"\b(?:against|violat\w*|guidelines?|polic(?:y|ies)|ethic\w*|unethical|illegal\w*|unlawful|harm\w*|danger\w*|safety|unsafe|inappropriate|offensive|"
        r"privacy|consent|legal consequences|law enforcement|hate|discriminat\w*|violen\w*|malicious|misinformation|copyright\w*|terms of service|designed to|programmed|purpose is|"
        r"my training|capabilit\w*|limitations?|not appropriate|respectful\w*|responsible|serious consequences|explicit)\b|"
        r"(?:happy|glad|here|able|like|love|willing|pleased|can|could|free|more than happy) to (?:help|assist|discuss|talk|answer|offer|provide|suggest|support|chat)|"
        r"(?:anything|something|any other|other|another|different|else)\b.{0,40}(?:help|assist|questions?|topics?|discuss|requests?|ask|like|talk|else)|let me know|feel free|reach out|"
        r"please (?:contact|consult|seek|ask|try|consider|speak|refrain|reach|let|provide|rephrase|note)|consult\w*\b.{0,30}(?:professional|lawyer|doctor|expert|attorney|physician|advis)|"
        r"qualified|licensed|professional (?:help|advice|for)|local authorities|crisis|hotline|emergency services|instead|i hope|thank you|i can (?:help|assist|offer|discuss)|how (?:can|may) i|would you like|"
        r"i(?:'|\u2019)?d (?:be )?(?:happy|glad)|nothing i can|my apologies"
    ),
    "de": r"\b(?:leid|entschuldig|bedau|leider|richtlinien|illegal|gefährlich|schädlich|ethisch|gesetz|stattdessen|andere[nrsm]? (?:frage|thema|themen|anliegen|fragen)|gerne|behilflich|wende|verständnis|fachmann|arzt|anwalt|kann ich sonst|sicherheit|rechtswidrig|straf|urheber|verstößt|unangemessen|sprachmodell)",
    "fr": r"\b(?:désolé|navré|regrette|malheureusement|excus|directives|illégal|dangereu|éthique|sécurité|autre (?:question|sujet|chose)|plaisir|puis-je|n'hésitez|consulter|professionnel|nuisible|enfreint|contraire|respect|comprends|inapproprié|droits d'auteur)",
    "es": r"\b(?:siento|lament|disculp|perdón|directrices|ilegal|peligros|ética|ético|seguridad|otr[ao] (?:cosa|pregunta|tema|consulta)|con gusto|encantad|puedo ayudarte|consult|profesional|dañin|perjudicial|políticas|inapropiad|entiendo|derechos de autor|normas)",
    "it": r"\b(?:dispiace|purtroppo|scus|linee guida|illegale|pericolos|etic|sicurezza|altro|altra|altre|altri|volentieri|posso aiutarti|professionista|dannos|viola|inappropriat|capisco|diritto d'autore)",
    "pt": r"\b(?:desculp|infelizmente|sinto muito|diretrizes|perigos|segurança|outr[ao]|posso ajudar|fico feliz|prejudicial|viola|inadequad|entendo|direitos autorais|nocivo)",
    "nl": r"\b(?:sorry|spijt|helaas|richtlijn|gevaarlijk|ethisch|veiligheid|iets anders|andere|graag|schadelijk|begrijp|ongepast|auteursrecht|strafbaar)",
    "pl": r"\b(?:przykro|niestety|przepraszam|wytyczn|nielegaln|niebezpiecz|etyczn|bezpiecze|inn(?:ym|ej|ego|e|ych)|chętnie|szkodliw|narusza|rozumiem|niewłaściw|prawo|zasad)",
    "ru": r"\b(?:извин|прости|сожал|правил|незаконн|опасн|этич|безопасн|друг(?:ой|им|ие|ом|их)|рад(?:а)? помочь|обратитесь|наруша|понима|неуместн|вред|закон|политик)",
    "tr": r"\b(?:özür|üzgün|maalesef|ne yazık|kurallar|yasa|tehlike|etik|güvenli|başka|memnuniyet|zarar|uygunsuz|anlıyorum|ilke|telif|politika)",
    "zh": r"抱歉|对不起|對不起|遗憾|违反|违法|准则|政策|危险|道德|伦理|安全|其他|别的|乐意|很高兴|有害|不当|理解|咨询|法律|建议您|请您|如果您|如果你|规定|原则|版权|隐私|不合适",
    "ja": r"申し訳|すみません|ごめん|残念|違反|違法|ガイドライン|危険|倫理|安全|他の|別の|ほかの|お手伝いでき|喜んで|有害|不適切|理解|ご相談|専門家|法律|ご了承|ポリシー|規約|著作権|プライバシー|何かあれば",
    "ko": r"죄송|미안|유감|위반|불법|지침|정책|위험|윤리|안전|다른|기꺼이|해로|부적절|이해|상담|전문가|법|양해|유해|저작권|개인정보|도움이 필요",
    "ar": r"عذرا|عذراً|آسف|اسف|أعتذر|للأسف|مخالف|ينتهك|قانون|إرشادات|سياسات|خطير|خطر|أخلاقي|سلامة|أمان|آخر|أخرى|يسعدني|ضار|غير لائق|أتفهم|استشار|مختص|حقوق",
    "hi": r"क्षमा|माफ़|माफ|खेद|नियम|अवैध|गैरकानूनी|खतरनाक|नैतिक|सुरक्षा|अन्य|दूसर|और किसी|खुशी|हानिकारक|अनुचित|समझ|विशेषज्ञ|कानून|नीति|उल्लंघन|कॉपीराइट|गोपनीयता",
    "sv": r"\b(?:tyvärr|förlåt|ledsen|riktlinjer|olagligt|farligt|annat|gärna|xin lỗi|rất tiếc|vi phạm|nguy hiểm|khác|maaf|sayangnya|melanggar|berbahaya|lain|ขอโทษ|ขออภัย|อันตราย|ผิดกฎหมาย|อื่น|omlouv|bohužel|promiň|jin(?:ým|ou|ého)|вибач|шкода|інш|متاسف|متأسف|ببخشید|دیگر)",
}  # fmt: skip

COMPLIES = (
    rf"^\W*(?:sure(?:ly)?\b|certainly\b|absolutely\b|of course\b|here(?:{_Q}s| is| are)\b|below (?:is|are)\b|gladly\b|happy to\b|yes\b|okay[,!]|ok[,!]|dear\b|subject:|hi [a-z]+,|hello [a-z]+,|"
    r"gerne\b|natürlich\b|klar\b|hier (?:ist|sind)\b|selbstverständlich\b|betreff:|liebe|sehr geehrte|ja\b|voici\b|bien sûr|certainement\b|objet ?:|oui\b|cher |chère |bonjour [a-z]+,|"
    r"claro\b|por supuesto|aquí (?:está|tienes|van)|asunto:|estimad|querid|sí\b|ecco\b|certo\b|certamente\b|oggetto:|gentile|caro |cara |sì\b|aqui (?:está|vai|estão)|com certeza|prezad|assunto:|sim\b|"
    r"hier (?:is|zijn)\b|natuurlijk\b|zeker\b|beste |onderwerp:|oto\b|oczywiście|jasne|szanown|temat:|drog[ia]|tak\b|вот|конечно|разумеется|уважаем|тема:|дорог|да[,.!]|işte|tabii|elbette|sayın|konu:|evet|"
    r"当然|好的|以下|没问题|可以|尊敬的|主题|はい|もちろん|以下|件名|こちら|네[,. ]|물론|다음은|안녕하세요, |제목:|بالتأكيد|بالطبع|إليك|نعم|الموضوع|عزيزي|ज़रूर|बिल्कुल|यहाँ|प्रिय|विषय:|हाँ)"
)  # fmt: skip

HINTS: dict[str, str] = {
    "en": r"\bi(?: am|['\x{2019}]m|['\x{2019}]d|['\x{2019}]ll| would| must| have| need)?(?: \w+){0,2},? (?:can(?:no|['\x{2019}])?t|can not|could not|couldn['\x{2019}]t|won['\x{2019}]?t|will not|unable|not able|not (?:allowed|permitted|comfortable|willing|authori|going|in a|prepared|designed|programmed)|decline|refuse|pass\b|rather not|prefer not|do(?: not|n['\x{2019}]?t) (?:feel|have)|prohibited|forbidden|(?:to )?pass on)|\bas an? (?:ai|artificial|language model|assistant|virtual)|\bi(?: am|['\x{2019}]m) (?:just |only |merely )?an? (?:ai|language|assistant)|\b(?:sorry|afraid),? (?:but )?(?:i|that) |something i(?: can|['\x{2019}]m| am)|sorry,? (?:i )?can['\x{2019}]?t|no can do|(?:unable|not able) to |\bi(?:['\x{2019}]m| am) (?:un|not )|your request |\bi won['\x{2019}]t",
    "de": r"(?:\bich (?:kann|darf|werde|m\x{f6}chte|will|k\x{f6}nnte|bin|w\x{e4}re)|(?:kann|darf|werde|m\x{f6}chte|will|bin) ich\b|tut mir leid|leider|entschuldigung|bedau|als (?:ki|k\x{fc}nst|sprachmodell|assistent))[^.!?\n]*(?:nicht|kein)|\bich (?:muss|werde)[^.!?\n]*(?:ablehn|verweiger)|muss ich[^.!?\n]*(?:ablehn|verweiger)|\bich (?:lehne|verweigere)",
    "fr": r"\bje (?:ne|n['\x{2019}]) ?(?:peux|suis|pourr|puis|vais|souhaite|veux|saurais)|\bje (?:dois|me vois|refuse|d\x{e9}cline)|(?:en tant qu|d\x{e9}sol\x{e9}|navr\x{e9}|regrette|malheureusement)[^.!?\n]*(?:\bne |\bn['\x{2019}]|impossible)",
    "es": r"\bno (?:puedo|podr|me es|me est|tengo p|tengo a|estoy|soy capaz|voy a|quiero|debo)|lo siento|lament|disculp|perd\x{f3}n|desgraciad|me (?:niego|veo)|(?:debo|tengo que) |como (?:ia|inteligencia|modelo|asistente)",
    "it": r"\bnon (?:posso|potrei|sono|mi \x{e8}|voglio|intendo|riesco)|mi dispiace|purtroppo|spiacente|scusa|mi spiace|mi rincresce|(?:devo|sono costrett)|mi rifiuto|come (?:ia|intelligenza|modello|assistente)",
    "pt": r"n\x{e3}o (?:posso|poder|consigo|me \x{e9}|tenho p|tenho a|estou|sou capaz|vou|quero|devo)|desculp|lamento|infelizmente|sinto muito|perd\x{e3}o|recus|declin|como (?:ia|uma ia|uma int|intelig|modelo|um modelo|assistente|um assistente)",
    "nl": r"(?:\bik (?:kan|mag|zal|wil|ga|ben|voel)|(?:kan|mag|zal|wil|ben) ik\b|sorry|het spijt me|helaas|excuses|als (?:ai|taalmodel|assistent|kunst))[^.!?\n]*(?:niet|geen)|\bik weiger|\bik moet[^.!?\n]*(?:weiger|afwij|bedank)",
    "pl": r"\bnie (?:mog|jestem|b\x{119}d|wolno|potrafi|chc|zamierzam|mam mo)|przykro mi|niestety|przepraszam|wybacz|musz\x{119} |odmawiam|jako (?:ai|si|sztuczna|model|asystent)",
    "ru": "не (?:могу|смогу|буду|имею|в сост|вправе|готов|хочу|упол|стану|умею)|извин|прости|сожал|жаль|увы|отказ|как (?:ии|иск|язык|асс|помощ)",
    "tr": r"am\x{131}yor|emiyor|amam|emem|amayaca|emeyece|m\x{fc}mk\x{fc}n de\x{11f}il|redde|izin verilm|yetkim yok|yapay zek",
    "zh": r"(?:我|抱歉|对不起|對不起|恕|本助手|作为)[^。！？\n]*(?:无法|不能|無法|不便|不会|不可以|没办法|没有|沒辦法|拒绝|不被|不方便|做不到|难以|不具备)|恕难|无可奉告|不能帮|无法帮|帮不了|无法满足",
    "ja": r"(?:でき|かね|られ|いたし|いき|し|なれ|立て|得)ません|かねます|できない|出来ない|断り|差し控え|控えさせて|は無理です|答えられ|AI[^。！？\n]*(?:ません|持ちません)|申し訳[^。！？\n]*(?:ません|かねます)",
    "ko": r"수 없|수가 없|수는 없|못합|못해|어렵|어려워|불가|않겠|거절|거부|안 됩|드리지 않|하지 않습|(?:죄송|미안|유감)[^.!?\n]*(?:못|어렵|불가|없)|(?:AI|인공지능|언어 모델)[^.!?\n]*(?:없습|못합|않습)",
    "ar": "لا (?:أست|است|يمكن|أقدر|اقدر|يس|يجوز|أملك|أرغب)|لن |لست|غير قادر|ليس ب|يتعذر|عذرا|آسف|اسف|أعتذر|للأسف|يؤسف|أرفض|كنموذج|بصفتي|كذكاء|باعتبار",
    "hi": r"(?:मैं|मुझे|मेरे|हम|क्षमा|माफ|खेद|एआई|AI|मॉडल|बुद्धि)[^।!?\n]*(?:नहीं|असमर्थ|मना कर|इनकार|अक्षम)",
    "sv": r"(?:\bjag (?:kan|f\x{e5}r|vill|kommer|t\x{e4}nker)|(?:kan|f\x{e5}r|vill) jag|tyv\x{e4}rr|f\x{f6}rl\x{e5}t|ledsen|beklagar|som (?:ai|en ai|spr\x{e5}kmodell))[^.!?\n]*(?:inte|inga|ingen)|\bjag (?:m\x{e5}ste|v\x{e4}grar)",
    "vi": r"kh\x{f4}ng (?:th|\x{111}|c\x{f3}|s\x{1eb5}n)|t\x{1eeb} ch\x{1ed1}i",
    "id": r"tidak (?:bisa|dapat|mampu|boleh|akan|diizinkan)|menolak",
    "th": "ไม่สามารถ|ไม่อาจ|ปฏิเสธ|ช่วยไม่ได้|ไม่ได้รับ|ไม่สะดวก",
    "cs": r"nemohu|nem\x{16f}\x{17e}u|nesm\x{ed}m|nejsem|odm\x{ed}t\x{e1}m|nebudu",
    "uk": "не (?:можу|зможу|буду|маю)|відмовля",
    "fa": "نمی|قادر نیستم|مجاز نیستم",
}  # fmt: skip
